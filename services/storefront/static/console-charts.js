// The overview, live: Server-Sent Events into tiles, charts and the table that says the same. Draws; decides nothing.
"use strict";

const LONGEST = 300; // seconds shown, once there are so many
const SHORTEST = 60;
const GAP = 30; // seconds without a sample, after which a line is broken
const ROWS = 30; // of the table
const UNKNOWN = "unknown";
const SVG = "http://www.w3.org/2000/svg";

const live = document.getElementById("live");
const toggle = document.getElementById("live-toggle");
let samples = [];
let source = null;

const whole = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 }).replaceAll(",", "\u202f");
const known = (value, show) => (value === null ? UNKNOWN : show(value));
const count = (value) => known(value, (number) => whole(Math.round(number)));
const rate = (value) => known(value, (number) => (Math.round(number * 10) / 10).toFixed(1));

function duration(value) {
  if (value === null) return UNKNOWN;
  if (value < 60) return `${Number(value.toFixed(1))} s`;
  const rest = Math.round(value % 60);
  if (value < 3600) return `${Math.floor(value / 60)} min${rest ? ` ${rest} s` : ""}`;
  return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
}

function trend(value) {
  if (value === null) return "trend unknown";
  if (Math.abs(value) < 0.05) return "steady";
  return `${value > 0 ? "growing" : "falling"} by ${Math.abs(value).toFixed(1)} a second`;
}

/** What `sample` tells under `name`; a dot leads into it. */
const told = (sample, name) => name.split(".").reduce((value, part) => value?.[part] ?? null, sample);
const total = (numbers) => (numbers === null ? null : Object.values(numbers).reduce((sum, number) => sum + number, 0));

const WORDS = {
  accepted_per_second: rate,
  recorded_per_second: rate,
  duplicates: (value) => count(total(value)),
  "duplicates_per_second.key": rate,
  "duplicates_per_second.cart": rate,
  "duplicates_per_second.window": rate,
  "duplicates_per_second.payment": rate,
  lag_entries: count,
  lag_seconds: duration,
  lag_trend: trend,
  pending: count,
  oldest_pending_seconds: (value, sample) => (sample.pending === 0 ? "none" : duration(value)),
  dead_letters: count,
  overlay: count,
  stream_length: count,
  redis: (value) => value,
  postgres: (value) => value,
  paused: (value, sample) => (sample.redis === "down" ? UNKNOWN : value === null ? "open" : "paused"),
};

function showTiles(sample) {
  for (const tile of document.querySelectorAll("[data-tile]")) {
    const name = tile.dataset.tile;
    const text = WORDS[name](sample[name], sample);
    if (tile.textContent !== text) tile.textContent = text;
  }
  for (const dot of document.querySelectorAll("[data-reach]")) dot.className = `dot ${sample[dot.dataset.reach]}`;
  for (const tile of document.querySelectorAll("[data-warm]")) {
    tile.classList.toggle("is-warm", (sample[tile.dataset.warm] ?? 0) > 0);
  }
  for (const { name, idle_seconds: idle } of sample.consumers) {
    const place = document.querySelector(`[data-idle="${CSS.escape(name)}"]`);
    if (place) place.textContent = duration(idle);
  }
  const isPauseShown = document.querySelector("#pause section") !== null;
  if (sample.redis === "ok" && isPauseShown !== (sample.paused !== null)) location.reload(); // the banner has a form
}

function showRows() {
  const rows = samples.slice(-ROWS).reverse().map((sample) => {
    const row = document.createElement("tr");
    const time = new Date(sample.at * 1000).toISOString().slice(11, 19);
    const kinds = ["key", "cart", "window", "payment"].map((kind) => told(sample, `duplicates_per_second.${kind}`));
    const cells = [time, rate(sample.accepted_per_second), rate(sample.recorded_per_second), ...kinds.map(rate),
      count(sample.lag_entries), rate(sample.lag_seconds), count(sample.pending), count(sample.dead_letters)];
    cells.forEach((text, at) => {
      const cell = document.createElement("td");
      if (at) cell.className = "num";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  });
  document.getElementById("sample-rows").replaceChildren(...rows);
}

/** The smallest round number that is not below `most`. */
function roundUp(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((top) => top >= most);
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Runs of neighbouring samples that know `name`: what is unknown breaks the line. */
function runsOf(name) {
  const runs = [];
  let last = -Infinity;
  for (const sample of samples) {
    if (told(sample, name) === null) { last = -Infinity; continue; }
    if (sample.at - last > GAP) runs.push([]);
    runs.at(-1).push(sample);
    last = sample.at;
  }
  return runs;
}

function draw(svg, pointedAt = null) {
  const names = svg.dataset.chart.split(" ");
  const { width, height } = svg.getBoundingClientRect();
  if (!width) return;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const [left, right, top, bottom] = [46, 8, 8, 20];
  const now = samples.at(-1)?.at ?? Date.now() / 1000;
  const most = roundUp(Math.max(...samples.flatMap((sample) => names.map((name) => told(sample, name) ?? 0)), 1));
  const span = Math.min(LONGEST, Math.max(SHORTEST, 60 * Math.ceil((now - (samples[0]?.at ?? now)) / 60)));
  const x = (at) => left + (1 - (now - at) / span) * (width - left - right);
  const y = (value) => top + (1 - value / most) * (height - top - bottom);
  const parts = [0, 0.5, 1].flatMap((share) => [
    element("line", { class: "grid", x1: left, x2: width - right, y1: y(most * share), y2: y(most * share) }),
    element("text", { x: left - 6, y: y(most * share) + 4, "text-anchor": "end" }, whole(most * share)),
  ]);
  for (const share of width > 560 ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1]) {
    const seconds = Math.round(span * (1 - share));
    const label = seconds === 0 ? "now" : `${duration(seconds)} ago`;
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    parts.push(element("text", { x: x(now - seconds), y: height - 4, "text-anchor": anchor }, label));
  }
  names.forEach((name, index) => {
    const letter = svg.closest(".chart").querySelector(`[data-legend="${name}"]`).closest("li").className.at(-1);
    for (const run of runsOf(name)) {
      const points = run.map((sample) => `${x(sample.at).toFixed(1)},${y(told(sample, name)).toFixed(1)}`);
      const line = points.length > 1 ? `M${points.join("L")}` : `M${points[0]}h1`;
      if (index === 0 && points.length > 1) {
        parts.push(element("path", { class: `fill-${letter}`, d: `${line}V${y(0)}H${x(run[0].at).toFixed(1)}Z` }));
      }
      parts.push(element("path", { class: `stroke-${letter}`, d: line }));
    }
  });
  let shown = samples.at(-1);
  if (pointedAt !== null && samples.length) {
    const at = now - (1 - (pointedAt - left) / (width - left - right)) * span;
    shown = samples.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
    parts.push(element("line", { class: "cross", x1: x(shown.at), x2: x(shown.at), y1: top, y2: height - bottom }));
  }
  svg.replaceChildren(...parts);
  for (const name of names) {
    const legend = svg.closest(".chart").querySelector(`[data-legend="${name}"]`);
    legend.textContent = shown ? WORDS[name](told(shown, name), shown) : UNKNOWN;
  }
}

const charts = [...document.querySelectorAll("svg[data-chart]")];

function show() {
  showTiles(samples.at(-1));
  showRows();
  for (const svg of charts) draw(svg, svg.pointedAt ?? null);
}

function say(text, state) {
  document.getElementById("live-text").textContent = text;
  live.className = `live ${state}`;
}

function take(news) {
  samples = samples.concat(news).filter((sample) => sample.at > news.at(-1).at - LONGEST);
  say("Live", "is-live");
  show();
}

function connect() {
  source = new EventSource("/api/admin/operations/overview/live");
  source.addEventListener("history", (event) => { samples = []; take(JSON.parse(event.data)); });
  source.addEventListener("sample", (event) => take([JSON.parse(event.data)]));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000); // a refusal; the browser gives up on it
    lostTimer ??= setTimeout(() => say("No connection, trying again. The figures are old", "is-lost"), 5000);
  });
  source.addEventListener("open", () => { clearTimeout(lostTimer); lostTimer = null; });
}

let lostTimer = null;
toggle.addEventListener("click", () => {
  if (source) {
    source.close();
    source = null;
    toggle.textContent = "Go on updating";
    say("Updates are paused", "");
  } else {
    toggle.textContent = "Pause updates";
    say("Connecting", "");
    connect();
  }
});
for (const svg of charts) {
  svg.addEventListener("pointermove", (event) => {
    svg.pointedAt = event.clientX - svg.getBoundingClientRect().left;
    draw(svg, svg.pointedAt);
  });
  svg.addEventListener("pointerleave", () => { svg.pointedAt = null; draw(svg); });
}

live.hidden = false;
document.getElementById("charts").hidden = false;
new ResizeObserver(() => charts.forEach((svg) => draw(svg, svg.pointedAt ?? null))).observe(document.getElementById("charts"));
connect();
