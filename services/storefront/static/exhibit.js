// The first storefront's success page, as it was: an effect that submits on every render while its guard is unset, a
// guard that is set only after the answer, no idempotency key, and a client that retries. Only for looking at.
"use strict";

const exhibit = document.getElementById("exhibit");
const answers = [];
let sent = 0;
let submitted = false; // the guard

/** The old client: 8 s, and up to three tries. Every one of them is a request. */
async function post(path, method, body, isCounted) {
  const waits = [300, 600];
  for (let attempt = 0; ; attempt += 1) {
    if (isCounted) {
      sent += 1;
      document.getElementById("sent").textContent = String(sent);
    }
    try {
      const answer = await fetch(path, {
        method,
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(8000),
      });
      if (isCounted) answers.push(answer.status);
      if (![429, 502, 503].includes(answer.status) || attempt === waits.length) return await answer.json();
    } catch (fault) {
      if (isCounted) answers.push("no answer");
      if (attempt === waits.length) throw fault;
    }
    await new Promise((resolve) => { setTimeout(resolve, waits[attempt]); });
  }
}

async function submitOrder() {
  const items = JSON.parse(exhibit.dataset.items);
  const { data } = await post("/api/orders", "POST", { total: Number(exhibit.dataset.total), items }, true);
  submitted = true;
  if (!data) return;
  await post("/api/orders", "PATCH", { id: data.id }, false);
  await post(`/api/cart/${exhibit.dataset.cartSession}`, "PUT", { items: [] }, false);
}

/** What the framework did: a change of state renders, and a render runs the effect. */
const pending = [];
function render() {
  if (!submitted) pending.push(submitOrder());
}

async function judge() {
  await Promise.allSettled(pending);
  const known = new Set(exhibit.dataset.known.split(" "));
  const listed = await (await fetch("/api/orders")).json();
  const made = listed.data.filter((order) => !known.has(order.id));
  document.getElementById("answers").textContent = answers.join(", ");
  document.getElementById("orders").textContent = String(made.length);
  document.getElementById("order").textContent = made.map((order) => order.id).join(" ") || "none";
  document.getElementById("verdict").textContent =
    `${sent} requests were sent, and ${made.length} ${made.length === 1 ? "order exists" : "orders exist"}.`;
  exhibit.dataset.done = "yes";
}

if (exhibit) {
  render(); // mounted
  render(); // mounted again, as React's strict mode does
  setTimeout(render, 0); // the session was read: state changed
  setTimeout(() => { render(); judge(); }, 60); // the cart was read: state changed
}
