// Keeps the parts of a page that move up to date: asks for the page again and takes over what has changed in it.
// Without this file the pages are the same, and a link refreshes them.
"use strict";

const EVERY = 1000; // milliseconds

/** Puts the newer text of `fresh` into `old`; what is being typed and the focus stay where they are. */
function takeOver(old, fresh) {
  const active = document.activeElement;
  const heldId = old.contains(active) ? active.id : "";
  const typed = heldId ? active.value : undefined;
  old.innerHTML = fresh.innerHTML;
  for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
  const again = heldId ? document.getElementById(heldId) : null;
  if (again) {
    if (typed !== undefined && "value" in again && again.tagName !== "BUTTON") again.value = typed;
    again.focus();
  }
}

/** Tells a screen reader of a new state, and not of every step on the way to it. */
function speak(fresh) {
  const told = fresh.querySelector("[data-speak]");
  if (told && told.dataset.speak !== document.querySelector("[data-speak]")?.dataset.speak) {
    document.getElementById("spoken").textContent = told.textContent;
  }
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  speak(page);
  for (const old of document.querySelectorAll("[data-refresh]")) {
    const fresh = page.getElementById(old.id);
    if (!fresh) continue;
    const isSame = "key" in old.dataset ? old.dataset.key === fresh.dataset.key : old.outerHTML === fresh.outerHTML;
    if (!isSame) takeOver(old, fresh);
  }
}

async function keepFresh() {
  while (document.querySelector('[data-refresh="yes"]')) {
    await new Promise((resolve) => { setTimeout(resolve, EVERY); });
    if (!document.hidden) await refresh().catch(() => null); // the next second tries again
  }
}

keepFresh();

// A page that comes back from the browser's memory may show what is long done.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
