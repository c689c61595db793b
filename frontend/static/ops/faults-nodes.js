// The nodes and the links between them, each with its buttons. Built once and then only changed, so
// that the keyboard's focus stays where it is.

import { el, svg } from "./live.js";

const cards = new Map(), links = new Map();
const PLACES = {
  "frontend-1": [150, 26], "order-1": [70, 92], "order-2": [230, 92],
  "catalog-1": [70, 164], "catalog-2": [230, 164], "backup": [150, 220],
};
const [WIDE, HIGH, BOX_WIDE, BOX_HIGH] = [300, 246, 98, 34];

/** Show each node's card; `fault(body, words)` has something done. */
export function showNodes(found, fault) {
  const holder = document.getElementById("nodes");
  for (const node of found.nodes) {
    if (!cards.has(node.node)) {
      cards.set(node.node, card(node.node, found.delays_ms, fault));
      holder.append(cards.get(node.node).item);
    }
    cards.get(node.node).show(node);
  }
}

function card(name, delays, fault) {
  let node = null;
  const button = (act) => el("button", { type: "button", class: "quiet small", onclick: () => fault(...act()) });
  const run = button(() => node.state === "dead" ? [{ do: "restart", node: name }, `${name} is started again.`] : [{ do: "kill", node: name }, `${name} was killed.`]);
  const pause = button(() => node.state === "paused" ? [{ do: "resume", node: name }, `${name} goes on.`] : [{ do: "pause", node: name }, `${name} stands still.`]);
  const cut = button(() => node.cut_off ? [{ do: "rejoin", node: name }, `${name} is reached again.`] : [{ do: "cut-off", node: name }, `Nobody reaches ${name}.`]);
  const delay = el("select", { "aria-label": `Delay ${name}`, onchange: () => fault({ do: "delay", node: name, amount_ms: Number(delay.value) },
    Number(delay.value) ? `Messages to and from ${name} take ${delay.value} ms longer.` : `${name} is no longer delayed.`) },
  el("option", { value: 0 }, "no delay"), delays.map((ms) => el("option", { value: ms }, `${ms} ms late`)));
  const title = el("h3", {}, name), badge = el("span", { class: "badge" }), words = el("p", { class: "muted small" });
  const buttons = el("div", { class: "buttons", role: "group", "aria-label": name }, run, pause, cut, delay);
  const item = el("li", { class: "machine", id: `node-${name}` }, el("div", { class: "machine-head" }, title, badge), words, buttons);

  function show(found) {
    node = found;
    item.dataset.state = node.state;
    item.dataset.leads = String(node.leads);
    text(badge, node.leads ? `★ ${node.state}` : node.state);
    text(words, saying(node));
    label(run, node.state === "dead" ? "Start again" : "Kill", name);
    label(pause, node.state === "paused" ? "Go on" : "Pause", name);
    label(cut, node.cut_off ? "Rejoin" : "Cut off", name);
    pause.disabled = node.state === "dead";
    if (document.activeElement !== delay) delay.value = String(node.delay_ms);
  }
  return { item, show };
}

function saying(node) {
  const parts = [];
  if (node.cut_off) parts.push("cut off");
  if (node.delay_ms) parts.push(`${node.delay_ms} ms late`);
  if (node.said) {
    parts.push(node.said.state.split(":")[0]);
    if (node.said.epoch) parts.push(`epoch ${node.said.epoch}`);
    if (node.said.position) parts.push(`at ${node.said.position[1]}`);
    if (node.said.lag) parts.push(`${node.said.lag} behind`);
  } else if (node.state === "running" || node.state === "starting") {
    parts.push("does not answer yet");
  }
  if (node.returns) parts.push(node.state === "running" ? "serves this page" : "comes back by itself");
  return parts.join(" · ") || "says nothing";
}

const text = (element, words) => { if (element.textContent !== words) element.textContent = words; };
function label(button, words, of) {
  text(button, words);
  button.setAttribute("aria-label", `${words} ${of}`);
}

/** Show each pair of nodes that talk, with its button. */
export function showLinks(found, fault) {
  const holder = document.getElementById("links");
  for (const pair of found.pairs) {
    const id = `${pair.one} ${pair.other}`;
    if (!links.has(id)) {
      links.set(id, link(pair, fault));
      holder.append(links.get(id).item);
    }
    links.get(id).show(pair);
  }
}

function link({ one, other }, fault) {
  let pair = null;
  const toggle = el("button", { type: "button", class: "quiet small", onclick: () => pair.cut
    ? fault({ do: "mend", node: one, other }, `${one} and ${other} reach one another again.`)
    : fault({ do: "cut", node: one, other }, `${one} and ${other} no longer reach one another.`) });
  const words = el("span", { class: "link-state" });
  const item = el("li", { class: "link" }, el("span", {}, `${one} – ${other}`), words, toggle);
  function show(found) {
    pair = found;
    item.dataset.through = String(pair.through);
    text(words, pair.through ? (pair.delay_ms ? `${pair.delay_ms} ms late` : "") : "cut");
    label(toggle, pair.cut ? "Mend" : "Cut", `between ${one} and ${other}`);
  }
  return { item, show };
}

/** Draw who reaches whom; the lists beside it say the same in words. */
export function drawMap({ nodes, pairs }) {
  const lines = pairs.map(({ one, other, through, delay_ms: late }) => {
    const [x1, y1] = PLACES[one], [x2, y2] = PLACES[other];
    const line = svg("line", { x1, y1, x2, y2, class: through ? (late ? "late" : "through") : "cut" });
    return through ? line : [line, svg("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2 + 5, class: "cross" }, "✕")];
  });
  const boxes = nodes.map(({ node, state, leads, cut_off: cutOff }) => {
    const [x, y] = PLACES[node];
    return svg("g", { class: `box ${state}${leads ? " leads" : ""}${cutOff ? " cut-off" : ""}` },
      svg("rect", { x: x - BOX_WIDE / 2, y: y - BOX_HIGH / 2, width: BOX_WIDE, height: BOX_HIGH, rx: 6 }),
      svg("text", { x, y: y - 2 }, node), svg("text", { x, y: y + 11, class: "state" }, leads ? "★ leads" : state));
  });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": "Who reaches whom; the list below says it in words" }, lines, boxes);
  document.getElementById("map").replaceChildren(drawing);
}
