// Makes three forms quicker by talking to the public API. Without this file, and after any surprise, the forms are
// sent as they are: the server does the same work, under the same idempotency key.
"use strict";

const ANSWER_WITHIN = 8000; // milliseconds
const WAITS = [300, 600, 1200]; // milliseconds before each further try of a request whose outcome is unknown

/** Tells the shopper, and a screen reader, what happened. */
function say(text, isFault = false) {
  const status = document.getElementById("status");
  status.classList.toggle("fault", isFault);
  status.textContent = "";
  requestAnimationFrame(() => { status.textContent = text; });
}

/** One request to the API; an outcome that is unknown (no answer, 429, 502, 503) is asked for again. */
async function call(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  for (const wait of [...WAITS, null]) {
    let answer = null;
    try {
      answer = await fetch(path, { ...options, signal: AbortSignal.timeout(ANSWER_WITHIN) });
      if (![429, 502, 503].includes(answer.status)) {
        return { status: answer.status, etag: answer.headers.get("ETag"), ...(await answer.json()) };
      }
    } catch (fault) {
      if (wait === null) throw fault;
    }
    if (wait === null) return { status: answer.status, error: "The shop is busy. Please try again." };
    await new Promise((resolve) => { setTimeout(resolve, wait); });
  }
  return undefined;
}

/** Quantity of each product. */
function unitsOf(items) {
  const units = new Map();
  for (const { id, quantity } of items) units.set(id, (units.get(id) ?? 0) + quantity);
  return units;
}

function showCount(items) {
  const count = items.reduce((sum, item) => sum + item.quantity, 0);
  const badge = document.getElementById("cart-count");
  badge.hidden = count === 0;
  badge.querySelector("[data-count]").textContent = String(count);
}

/** True when the cart now holds what the form asked for; false leaves it to the server. */
async function addToCart(form) {
  const session = form.dataset.cartSession;
  const { product, quantity } = Object.fromEntries(new FormData(form));
  const path = `/api/cart/${session}`;
  for (let attempt = 0; attempt < 4; attempt += 1) {
    const cart = await call("GET", path);
    if (!cart.data) return false;
    const units = unitsOf(cart.data);
    const most = Math.min(Number(form.dataset.stock), 99);
    const wanted = (units.get(product) ?? 0) + Number(quantity);
    units.set(product, Math.min(wanted, most));
    const items = [...units].map(([id, count]) => ({ id, quantity: count }));
    const changed = await call("PUT", path, { items }, { "If-Match": cart.etag });
    if (changed.data) {
      showCount(changed.data);
      say(wanted > most ? `Added to cart. We have ${most} in all` : "Added to cart");
      return true;
    }
    if (changed.status !== 412) return false;
  }
  return false;
}

/** Places the order that the page shows, once, however often it is asked to. */
async function placeOrder(form) {
  const fields = Object.fromEntries(new FormData(form));
  const items = JSON.parse(fields.items);
  const cart = await call("GET", `/api/cart/${form.dataset.cartSession}`);
  const there = unitsOf(cart.data ?? []);
  if (items.some(({ id, quantity }) => (there.get(id) ?? 0) < quantity)) return false; // changed, or bought just now
  const headers = { "Idempotency-Key": fields.idempotency_key, "X-Cart-Session": fields.cart };
  if (fields.payment === "card") {
    const session = await call("POST", "/api/checkout/sessions", { total: Number(fields.total), items }, headers);
    if (!session.data) return false;
    location.assign(session.data.url);
    return true;
  }
  const order = await call("POST", "/api/orders", { total: Number(fields.total), items }, headers);
  if (!order.data) return false;
  if (fields.payment === "demo") await call("PATCH", "/api/orders", { id: order.data.id }).catch(() => null);
  location.assign(`/checkout/success?order=${encodeURIComponent(order.data.id)}`);
  return true;
}

async function cancelOrder(form) {
  const id = form.dataset.cancel;
  const order = await call("POST", `/api/orders/${encodeURIComponent(id)}/cancel`, {});
  if (!order.data) return false;
  showOrder(order.data);
  say("The order is cancelled");
  return true;
}

/** Brings the page to the order's status; answers what changed as a sentence, null when nothing did. */
function showOrder(order) {
  const tag = document.querySelector(`[data-order="${CSS.escape(order.id)}"]`);
  if (tag === null || tag.textContent === order.status) return null;
  tag.textContent = order.status;
  tag.className = `tag ${order.status}`;
  const heading = tag.closest("li")?.querySelector("h2");
  const form = document.querySelector(`form[data-cancel="${CSS.escape(order.id)}"]`);
  if (form !== null && order.status !== "processing") {
    const hadFocus = form.contains(document.activeElement);
    form.remove();
    if (hadFocus) {
      heading.tabIndex = -1;
      heading.focus(); // the button that had the focus is gone
    }
  }
  return `${heading?.textContent ?? "Your order"} is now ${order.status}`;
}

/** Lets `work` answer a form; the button rests meanwhile, and what `work` leaves undone the server does. */
function enhance(selector, work, isKept) {
  for (const form of document.querySelectorAll(selector)) {
    const button = form.querySelector("button[type=submit]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (form.dataset.busy) return;
      form.dataset.busy = "yes";
      button.setAttribute("aria-disabled", "true");
      let isDone = false;
      try {
        isDone = await work(form);
      } catch {
        isDone = false;
      }
      if (!isDone) {
        form.submit();
      } else if (isKept) {
        delete form.dataset.busy;
        button.removeAttribute("aria-disabled");
      }
    });
  }
}

enhance("form[data-add][data-cart-session]", addToCart, true);
enhance("form[data-pay]", placeOrder, false);
enhance("form[data-cancel]", cancelOrder, false);

// A page that comes back from the browser's memory may show a cart that is long bought.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
