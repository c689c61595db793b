// Draws the nodes and who talks to whom. Whatever a colour says, a shape and a word say, too.
import { el, number, percent, svg } from "./live.js";
import { leaderOf } from "./history.js";

const CARD = { height: 112, widest: 232, gap: 16, rows: 54, below: 6, curve: 30 };
const CHARACTER = 7.4; // its width in a state's type
const NARROW = 640;
const GOOD = /^(leading|following|caching|cache off|watching|keeping)/;

/** Return the drawing; `width` is what there is room for, in CSS pixels. */
export function drawTopology(seen, shares, width, said) {
  const places = placed(seen.nodes, width);
  const lines = edges(seen, places);
  const curved = lines.flat(2).some((line) => line?.classList.contains("under"));
  const height = Math.max(...Object.values(places).map((place) => place.y)) + CARD.height + CARD.below + (curved ? CARD.curve : 0);
  return svg("svg", { class: "topology", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Topology. ${said}` },
    svg("defs", {}, arrow("arrow", "edge-head"), arrow("arrow-strong", "edge-head strong")),
    lines,
    seen.nodes.map((node) => card(node, places[node.node], seen, shareOf(node, seen, shares))));
}

function placed(nodes, width) {
  const of = (...services) => nodes.filter((node) => services.includes(node.service));
  const narrow = width < NARROW;
  const rows = [of("frontend"), of("order"), ...(narrow ? [of("catalog"), of("backup")] : [of("catalog", "backup")])]
    .flatMap((row) => narrow ? pairs(row) : [row]).filter((row) => row.length);
  const places = {};
  rows.forEach((row, line) => {
    const across = narrow ? Math.max(2, row.length) : row.length;
    const wide = Math.min(CARD.widest, (width - CARD.gap * (across - 1)) / across);
    const space = narrow ? CARD.gap : Math.max(CARD.gap, Math.min(150, (width - wide * across) / (across + 1)));
    const start = (width - row.length * wide - (row.length - 1) * space) / 2;
    row.forEach((node, at) => { places[node.node] = { x: start + at * (wide + space), y: 2 + line * (CARD.height + CARD.rows), width: wide, line, at }; });
  });
  return places;
}

const pairs = (row) => row.length < 3 ? [row] : [row.slice(0, 2), ...pairs(row.slice(2))];

const arrow = (id, name) => svg("marker", { id, viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
  svg("path", { d: "M0 0 L10 5 L0 10 z", class: name }));

function edges(seen, places) {
  const up = Object.fromEntries(seen.nodes.map((node) => [node.node, node.up]));
  const of = (service) => seen.nodes.filter((node) => node.service === service).map((node) => node.node);
  const leading = leaderOf(seen)?.node;
  const found = [];
  for (const frontend of of("frontend")) {
    for (const name of of("catalog")) found.push(down(places, frontend, name, up, "reads"));
    for (const name of of("order")) found.push(down(places, frontend, name, up, "purchases"));
  }
  if (leading) for (const name of of("order")) found.push(down(places, name, leading, up, "sells"));
  if (leading) for (const [name, what] of seconds(seen, leading)) found.push(...across(places[leading], places[name], what));
  return found;
}

// Who has each write before it commits: the other catalog while it follows, else the backup.
function seconds(seen, leading) {
  return seen.nodes.filter((node) => node.up && node.node !== leading && (node.state === "following" && node.service === "catalog" || node.service === "backup" && node.state !== "watching"))
    .map((node) => [node.node, node.service === "backup" ? "prepare" : "prepare, commit"]);
}

function down(places, from, to, up, kind) {
  const gone = !(up[from] && up[to]);
  return svg("path", { class: `edge ${kind}${gone ? " gone" : ""}`, d: between(places[from], places[to]), "marker-end": gone ? null : "url(#arrow)" });
}

// From the lower edge of one card to the upper edge of another, or the other way round.
function between(a, b) {
  const falls = a.y < b.y;
  const x1 = a.x + a.width / 2, y1 = falls ? a.y + CARD.height : a.y, x2 = b.x + b.width / 2, y2 = falls ? b.y - 2 : b.y + CARD.height + 2, bend = (y2 - y1) / 2;
  return `M${x1} ${y1} C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`;
}

function across(a, b, label) {
  if (a.line !== b.line) return [svg("path", { class: "edge strong", d: between(a, b), "marker-end": "url(#arrow-strong)" })];
  const right = b.x > a.x, beside = Math.abs(a.at - b.at) === 1;
  const x1 = right ? a.x + a.width : a.x, x2 = right ? b.x - 2 : b.x + b.width + 2, y = a.y + CARD.height / 2;
  const under = Math.max(a.y, b.y) + CARD.height + CARD.curve;
  const middle1 = a.x + a.width / 2, middle2 = b.x + b.width / 2;
  const d = beside ? `M${x1} ${y} L${x2} ${y}` : `M${middle1} ${a.y + CARD.height} C${middle1} ${under} ${middle2} ${under} ${middle2} ${b.y + CARD.height + 2}`;
  const room = beside ? Math.abs(x2 - x1) : 200;
  const text = room < 90 ? null : svg("text", { class: "edge-label", "text-anchor": "middle", x: beside ? (x1 + x2) / 2 : (middle1 + middle2) / 2, y: beside ? y - 8 : under - 2 }, label);
  return [svg("path", { class: `edge strong${beside ? "" : " under"}`, d, "marker-end": "url(#arrow-strong)" }), text];
}

export const stateOf = (node) => !node.up ? "down" : GOOD.test(node.state) ? "well" : "between";

function card(node, place, seen, share) {
  const state = stateOf(node), leads = node.up && node.role === "leader";
  const wide = place.width > 200, said = wrapped(`${leads && !wide ? "★ " : ""}${stateWord(node)}`, (place.width - 24) / CHARACTER);
  const lines = [...said.slice(1), ...facts(node, share)].slice(0, 2);
  return svg("g", { class: `node ${state}${leads ? " leads" : ""}`, transform: `translate(${place.x} ${place.y})`, "data-node": node.node, "data-state": state },
    svg("rect", { class: "card", width: place.width, height: CARD.height, rx: 8 }),
    svg("rect", { class: "stripe", width: 5, height: CARD.height - 16, x: 0, y: 8 }),
    sign(state, 22, 22),
    svg("text", { class: "name", x: 36, y: 27 }, node.node),
    leads && wide ? badge("LEADER", place.width) : null,
    svg("text", { class: "state", x: 16, y: 48 }, said[0]),
    lines.map((line, index) => svg("text", { class: index < said.length - 1 ? "state" : "fact", x: 16, y: 67 + 18 * index }, line)),
    lease(node, seen.lease_s, place.width));
}

// In lines of so many characters, broken at blanks.
function wrapped(text, characters) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (longer.length <= characters || lines.at(-1) === "") lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

const badge = (word, width) => [
  svg("rect", { class: "badge", x: width - 74, y: 12, width: 62, height: 20, rx: 10 }),
  svg("text", { class: "badge-word", x: width - 43, y: 26, "text-anchor": "middle" }, word)];

function sign(state, x, y) {
  if (state === "well") return svg("circle", { class: "sign", cx: x, cy: y, r: 6 });
  if (state === "between") return svg("path", { class: "sign", d: `M${x} ${y - 7} L${x + 7} ${y + 6} L${x - 7} ${y + 6} z` });
  return svg("path", { class: "sign cross", d: `M${x - 6} ${y - 6} L${x + 6} ${y + 6} M${x + 6} ${y - 6} L${x - 6} ${y + 6}` });
}

// Of a frontend: what its cache answers, which only this one knows of itself.
const shareOf = (node, seen, shares) => (node.service !== "frontend" ? shares[node.node] : node.node === seen.seen_by ? shares.cache : null) ?? null;

const stateWord = (node) => node.up ? node.state : "does not answer";

function facts(node, share) {
  if (!node.up) return [];
  const first = [node.position ? `at ${node.position.join(":")}` : null, node.epoch !== null && node.service !== "order" ? `epoch ${node.epoch}` : null].filter(Boolean);
  const second = [node.lag === null ? null : `lag ${number(node.lag)}`, share === null ? null : node.service === "frontend" ? `cache answers ${percent(share)}` : `answers ${percent(share)}`].filter(Boolean);
  return [first.join(" · "), second.join(" · ")].filter(Boolean);
}

function lease(node, whole_s, width) {
  if (!node.up || node.lease === null || node.lease === undefined) return null;
  const room = width - 32 - 72, share = Math.max(0, Math.min(1, node.lease / whole_s));
  return [svg("rect", { class: "lease-all", x: 16, y: 95, width: room, height: 6, rx: 3 }),
    svg("rect", { class: "lease-left", x: 16, y: 95, width: room * share, height: 6, rx: 3 }),
    svg("text", { class: "fact", x: width - 12, y: 102, "text-anchor": "end" }, `lease ${node.lease.toFixed(1)} s`)];
}

/** Return the same facts as a table. */
export function tableOf(seen, shares) {
  const heads = ["Node", "Role", "State", "Epoch", "Position", "Lag", "Lease", "Share of requests", "Why"];
  return el("table", { class: "tight" },
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, seen.nodes.map((node) => el("tr", {},
      el("th", { scope: "row" }, node.node), el("td", {}, node.role ?? node.service), el("td", {}, stateWord(node)), el("td", {}, number(node.epoch)),
      el("td", {}, node.position ? node.position.join(":") : "–"), el("td", {}, number(node.lag)), el("td", {}, node.lease === null || node.lease === undefined ? "–" : `${node.lease.toFixed(1)} s`),
      el("td", {}, percent(shareOf(node, seen, shares))), el("td", {}, node.why || "")))));
}
