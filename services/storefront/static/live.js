// Keeps the statuses of the orders on this page true while somebody looks at it. Without this file, and while the
// stream is away, a reload tells the same.
"use strict";

const COME_BACK_AFTER = [2000, 5000, 15000, 60000]; // milliseconds, after refusals in a row; then it gives up

let source = null;
let refusals = 0;
let later = 0;

/** Whether an order on this page may still move. */
function isAnyOpen() {
  return document.querySelector("[data-order].processing") !== null;
}

function showAll(orders) {
  const changed = orders.map(showOrder).filter((sentence) => sentence !== null);
  if (changed.length > 0) say(changed.join(". "));
  if (!isAnyOpen()) stop();
}

/** A hidden tab holds no stream: a browser has few connections for all its tabs. */
function start() {
  if (source !== null || document.hidden || !isAnyOpen()) return;
  source = new EventSource("/api/orders/events");
  source.addEventListener("open", () => { refusals = 0; });
  source.addEventListener("orders", (event) => { showAll(JSON.parse(event.data)); });
  source.addEventListener("order", (event) => { showAll([JSON.parse(event.data)]); });
  source.addEventListener("error", () => {
    if (source === null || source.readyState !== EventSource.CLOSED) return; // it comes back by itself
    stop();
    if (refusals < COME_BACK_AFTER.length) later = setTimeout(start, COME_BACK_AFTER[refusals]);
    refusals += 1;
  });
}

function stop() {
  clearTimeout(later);
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else start(); });
window.addEventListener("pagehide", stop);
start();
