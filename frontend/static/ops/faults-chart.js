// The last two minutes: how much was answered, how long it took, and what was done meanwhile.

import { svg } from "./live.js";
import { duration } from "./faults-panels.js";

const SECONDS = 120, LEFT = 46, RIGHT = 10, TOP = 38, GAP = 34, HIGH = 92, BOTTOM = 22;
const SIGNS = { fault: "▼", undone: "▲", leader: "★" };
const LATENCY = { low: 0.1, high: 10_000, ticks: [0.1, 1, 10, 100, 1000, 10_000] };
const PARTS = ["p99", "p95", "p50"];

/** Draw the chart into an element, as wide as that is. */
export function drawChart(holder, { now, load, diary, receipts }) {
  const wide = Math.max(280, holder.clientWidth), high = TOP + 3 * HIGH + 2 * GAP + BOTTOM;
  const x = (at) => LEFT + (wide - LEFT - RIGHT) * (1 - (now - at) / SECONDS);
  const seconds = load.series.filter((second) => second.at > now - SECONDS);
  const top = (index) => TOP + index * (HIGH + GAP);
  const drawing = svg("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img",
    "aria-label": `The last two minutes: ${load.recent.reads_per_s} reads and ${load.recent.purchases_per_s} purchases a second just now, ${receipts.lost} orders lost.` },
  marks(diary.filter((entry) => SIGNS[entry.kind] && entry.at > now - SECONDS), x, top(0) - 22, top(2) + HIGH),
  amounts(seconds, x, top(0), wide),
  latencies("how long purchases took", seconds, "purchase_ms", "purchases", x, top(1), wide),
  latencies("how long reads took", seconds, "read_ms", "reads", x, top(2), wide),
  times(x, top(2) + HIGH, wide));
  holder.replaceChildren(drawing);
}

function marks(entries, x, y1, y2) {
  return entries.map((entry) => svg("g", { class: `mark ${entry.kind}` }, svg("title", {}, entry.words),
    svg("line", { x1: x(entry.at), x2: x(entry.at), y1, y2 }),
    svg("text", { x: x(entry.at), y: y1 - 3, "text-anchor": "middle" }, SIGNS[entry.kind])));
}

function frame(title, top, wide, ticks) {
  return [svg("text", { x: LEFT, y: top - 6, class: "title" }, title), ticks.map(({ y, words }) => [
    svg("line", { x1: LEFT, x2: wide - RIGHT, y1: y, y2: y, class: "grid" }),
    svg("text", { x: LEFT - 6, y: y + 4, class: "tick", "text-anchor": "end" }, words)])];
}

function amounts(seconds, x, top, wide) {
  const most = Math.max(10, ...seconds.map((second) => Math.max(second.reads, second.purchases, second.failed)));
  const high = nice(most), y = (value) => top + HIGH * (1 - Math.min(value, high) / high);
  const points = (name) => seconds.map((second) => [x(second.at + 0.5), y(second[name])]);
  const bars = seconds.filter((second) => second.failed).map((second) => svg("rect", { class: "failed",
    x: x(second.at) + 0.5, width: Math.max(1, x(second.at + 1) - x(second.at) - 1), y: y(second.failed), height: top + HIGH - y(second.failed) }));
  return svg("g", {}, frame("answered each second", top, wide, [0, high / 2, high].map((value) => ({ y: y(value), words: value }))),
    bars, line(points("reads"), "reads"), line(points("purchases"), "purchases"));
}

function latencies(title, seconds, name, kind, x, top, wide) {
  const scale = Math.log(LATENCY.high / LATENCY.low);
  const y = (ms) => top + HIGH * (1 - Math.log(Math.min(LATENCY.high, Math.max(LATENCY.low, ms)) / LATENCY.low) / scale);
  const ticks = LATENCY.ticks.map((ms) => ({ y: y(ms), words: duration(ms).replace(".0 ", " ") }));
  const known = seconds.filter((second) => second[name]);
  const lines = PARTS.map((part) => stretches(known).map((stretch) => line(stretch.map((second) => [x(second.at + 0.5), y(second[name][part])]), `${kind} ${part}`)));
  return svg("g", {}, frame(`${title} (p50, p95, p99)`, top, wide, ticks), lines);
}

/** Cut seconds into stretches without a hole: where nobody was answered there is no line. */
function stretches(seconds) {
  const found = [];
  for (const second of seconds) {
    const stretch = found.at(-1);
    if (stretch && stretch.at(-1).at === second.at - 1) stretch.push(second);
    else found.push([second]);
  }
  return found;
}

function line(points, kind) {
  if (points.length === 1) return svg("circle", { cx: points[0][0], cy: points[0][1], r: 1.6, class: `dot ${kind}` });
  return svg("polyline", { class: `curve ${kind}`, points: points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ") });
}

function times(x, y, wide) {
  const shown = wide < 500 ? [120, 60, 0] : [120, 90, 60, 30, 0];
  return svg("g", {}, shown.map((ago) => svg("text", { class: "tick", y: y + 16,
    x: LEFT + (wide - LEFT - RIGHT) * (1 - ago / SECONDS), "text-anchor": ago === 0 ? "end" : ago === 120 ? "start" : "middle" },
  ago ? `${ago} s ago` : "now")));
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= value);
}
