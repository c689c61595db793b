// Draws how far each copy is: positions over two minutes, epochs as vertical lines, below it who is behind.
import { number, svg } from "./live.js";
import { SECONDS } from "./history.js";

const HEIGHT = 190, LAG_HEIGHT = 42, LEFT = 52, RIGHT = 84, TOP = 36, BOTTOM = 20;
const WORD = 13; // the height of a line of small type

/** Return the chart of samples `[{at, positions: {node: seq|null}, epoch, leader}]`. */
export function drawTimeline(samples, width) {
  const end = samples.at(-1).at, names = Object.keys(samples.at(-1).positions);
  const x = (at) => LEFT + (width - LEFT - RIGHT) * (1 - (end - at) / (SECONDS * 1000));
  const known = samples.flatMap((sample) => Object.values(sample.positions)).filter((seq) => seq !== null);
  const least = Math.min(...known), most = Math.max(...known), floor = HEIGHT - BOTTOM;
  const [low, high] = most - least < 4 ? [Math.max(0, least - 2), least + 4] : [least, most];
  const y = (seq) => floor - (floor - TOP) * (seq - low) / (high - low);
  const all = HEIGHT + 14 + LAG_HEIGHT + 6;
  return svg("svg", { class: "timeline", viewBox: `0 0 ${width} ${all}`, width, height: all, role: "img", "aria-label": "Positions of the catalogs and the backup over the last two minutes; the sentence below says the same." },
    axes(x, y, low, high, end, width, known.length > 0), epochs(samples, x, width),
    known.length ? names.map((name, index) => line(samples, name, index, x, y)) : null,
    labels(samples.at(-1).positions, names, y, width), lags(samples, names, x, width));
}

function axes(x, y, low, high, end, width, any) {
  const seqs = any ? [low, high] : [];
  return [
    seqs.map((seq) => [svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(seq), y2: y(seq) }), svg("text", { class: "tick", x: LEFT - 6, y: y(seq) + 4, "text-anchor": "end" }, number(seq))]),
    [120, 60, 0].map((ago) => svg("text", { class: "tick", x: x(end - ago * 1000), y: HEIGHT - 4, "text-anchor": ago === 120 ? "start" : ago ? "middle" : "end" }, ago ? `−${ago} s` : "now"))];
}

function epochs(samples, x, width) {
  const found = [];
  let words = 0;
  for (let at = 1; at < samples.length; at += 1) {
    const now = samples[at], before = samples.slice(0, at).findLast((sample) => sample.epoch !== null);
    if (now.epoch === null || !before || now.epoch === before.epoch) continue;
    found.push(svg("line", { class: "epoch", x1: x(now.at), x2: x(now.at), y1: TOP - 6, y2: HEIGHT - BOTTOM }),
      svg("text", { class: "epoch-word", x: x(now.at) - 4, y: TOP - 8 - WORD * (words % 2), "text-anchor": "end" }, width < 480 ? `epoch ${now.epoch}` : `epoch ${now.epoch}: ${now.leader}`));
    words += 1;
  }
  return found;
}

function line(samples, name, index, x, y) {
  let d = "", pen = "M";
  for (const sample of samples) {
    const seq = sample.positions[name];
    if (seq === null || seq === undefined) { pen = "M"; continue; }
    d += `${pen}${x(sample.at).toFixed(1)} ${y(seq).toFixed(1)}`;
    pen = "L";
  }
  return svg("path", { class: `line line-${index}`, d: d || "M0 0" });
}

// At the right end, moved apart where lines meet.
function labels(positions, names, y, width) {
  let last = -Infinity;
  return names.map((name, index) => ({ name, index, at: positions[name] === null ? Infinity : y(positions[name]) })).sort((one, other) => one.at - other.at)
    .filter((label) => label.at !== Infinity)
    .map((label) => {
      last = Math.max(label.at, last + 15);
      return svg("text", { class: `line-word word-${label.index}`, x: width - RIGHT + 8, y: last + 4 }, label.name);
    });
}

function lags(samples, names, x, width) {
  const top = HEIGHT + 14, worst = Math.max(1, ...samples.map((sample) => Math.max(0, ...behind(sample, names).map(([, lag]) => lag))));
  const bars = samples.flatMap((sample) => behind(sample, names).filter(([, lag]) => lag > 0).map(([index, lag]) => {
    const height = Math.max(2, (LAG_HEIGHT - 8) * lag / worst);
    return svg("rect", { class: `bar bar-${index}`, x: x(sample.at) - 1.5, y: top + LAG_HEIGHT - height, width: 3, height });
  }));
  return [svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: top + LAG_HEIGHT, y2: top + LAG_HEIGHT }),
    svg("text", { class: "tick", x: LEFT - 6, y: top + LAG_HEIGHT, "text-anchor": "end" }, "behind"),
    svg("text", { class: "tick", x: LEFT - 6, y: top + 10, "text-anchor": "end" }, bars.length ? number(worst) : ""), bars];
}

function behind(sample, names) {
  const known = names.map((name, index) => [index, sample.positions[name]]).filter(([, seq]) => seq !== null && seq !== undefined);
  const most = Math.max(...known.map(([, seq]) => seq));
  return known.map(([index, seq]) => [index, most - seq]);
}
