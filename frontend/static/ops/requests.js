// The last requests, and the waterfall of the one that is chosen: what it caused, at every node.
import { el, get, number, poll, put, sentence, svg, tell, time } from "./live.js";

const SERVICES = { frontend: "frontend", order: "order server", catalog: "catalog", backup: "backup" };
const WANTED = {
  all: () => true,
  write: (one) => one.method && !["GET", "HEAD"].includes(one.method),
  miss: (one) => one.cache === "miss",
  failed: (one) => one.error || one.status >= 400,
};
const WIDTH = 1000, SETTLED_MS = 1200, DEEPEST = 8, KEY_CHARS = 8;
const rows = new Map(); // by span: what has been drawn stays, so that the keyboard keeps its place
const list = document.getElementById("rows"), wanted = document.getElementById("wanted"), hold = document.getElementById("hold");
let known = [], chosen = "";

const live = poll("/ops/data/requests", 1000, (found) => {
  tell("list-told", "warn", found.missing.length ? `${names(found.missing)} did not answer: its requests are not on this list.` : "");
  if (hold.getAttribute("aria-pressed") === "true") return;
  known = found.requests;
  drawList();
});

function drawList() {
  const shown = known.filter(WANTED[wanted.value]), stays = new Set(shown.map((one) => one.span));
  for (const [id, row] of rows) if (!stays.has(id)) { row.remove(); rows.delete(id); }
  let before = list.firstElementChild;
  for (const one of shown) {
    let row = rows.get(one.span);
    if (row === undefined) { row = drawRow(one); rows.set(one.span, row); }
    if (row === before) before = before.nextElementSibling;
    else list.insertBefore(row, before);
  }
  document.getElementById("none").hidden = shown.length > 0;
  mark();
}

function drawRow(one) {
  const link = el("a", { href: `?trace=${one.trace}`, onclick: (event) => { event.preventDefault(); choose(one.trace, true); } },
    el("span", { class: "method" }, one.method ?? ""), " ", one.target ?? one.name);
  return el("tr", { "data-trace": one.trace }, el("td", { class: "when" }, el("time", { datetime: one.at, title: one.at }, time(one.at))), el("td", { class: "what" }, link),
    el("td", { class: `answer ${one.status >= 500 ? "bad" : one.status >= 400 ? "warn" : ""}` }, one.status ?? "–"), el("td", { class: "number" }, `${milliseconds(one.ms)} ms`), el("td", { class: "served" }, served(one)));
}

const served = (one) => one.cache === "hit" ? "the cache" : one.served_by ?? one.node;

function mark() {
  for (const row of rows.values()) {
    const is = row.dataset.trace === chosen;
    row.classList.toggle("chosen", is);
    row.querySelector("a").toggleAttribute("aria-current", is);
  }
}

async function choose(trace, byHand) {
  chosen = trace;
  mark();
  if (byHand) history.replaceState(null, "", `?trace=${trace}`);
  await show(trace, byHand);
  setTimeout(() => { if (chosen === trace) show(trace, false); }, SETTLED_MS); // what is done after the answer comes late
}

async function show(trace, byHand) {
  try {
    const found = await get(`/ops/data/trace?id=${trace}`);
    if (chosen === trace && document.getElementById("detail").dataset.shown !== `${trace} ${found.spans.length} ${found.missing}`) draw(trace, found);
  } catch (error) {
    if (chosen !== trace) return;
    document.getElementById("detail-title").textContent = "This request";
    put("chosen", el("p", { class: "note warn" }, sentence(error)));
  }
  if (byHand) document.getElementById("detail").focus();
}

function draw(trace, found) {
  const { request, spans, missing } = found;
  document.getElementById("detail").dataset.shown = `${trace} ${spans.length} ${missing}`;
  if (request === null) {
    document.getElementById("detail-title").textContent = "This request is forgotten";
    put("chosen", el("p", { class: "note warn" }, `No node that answers remembers it any more${missing.length ? `, and ${names(missing)} did not answer` : ""}: each keeps its last few thousand spans.`));
    return;
  }
  document.getElementById("detail-title").textContent = request.target ? `${request.method} ${request.target}` : spans[0].what;
  const facts = [["Answer", request.status ?? "–"], ["Took", `${milliseconds(request.ms)} ms`], ["Began", el("time", { datetime: request.at }, `${time(request.at)}${request.at.slice(19, 23)}`)],
    ["Served by", request.cache === "hit" ? `the cache of ${request.node}` : served(request)], request.key ? ["Key", el("code", {}, request.key.length < KEY_CHARS ? request.key : `${request.key}…`)] : null, ["Trace-Id", el("code", { class: "id" }, trace)]];
  put("chosen",
    el("dl", { class: "facts" }, facts.filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    missing.length ? el("p", { class: "note warn" }, `${names(missing)} did not answer: what happened there is missing here.`) : null,
    shifts(spans), lost(spans), legend(spans), waterfall(spans, found.length_ms, request.ms));
}

function shifts(spans) {
  const off = new Map(spans.filter((span) => Math.abs(span.shifted_ms) > 0).map((span) => [span.node, span.shifted_ms]));
  return off.size ? el("p", { class: "note" }, `Clocks differ: ${[...off].map(([node, ms]) => `that of ${node} is ${milliseconds(Math.abs(ms))} ms ${ms < 0 ? "ahead" : "behind"}`).join("; ")}. What happened there is shifted to where it must have been.`) : null;
}

const lost = (spans) => spans.some((span) => span.lost) ? el("p", { class: "note warn" }, "Part of this request is not remembered any more, so some of what it caused stands by itself.") : null;

function legend(spans) {
  const services = Object.keys(SERVICES).filter((service) => spans.some((span) => span.service === service));
  return el("ul", { class: "legend", "aria-label": "Colours" }, services.map((service) => el("li", { class: service }, el("span", { class: "swatch", "aria-hidden": "true" }), SERVICES[service])),
    el("li", {}, el("span", { class: "swatch hollow", "aria-hidden": "true" }), "waiting for another node"), el("li", {}, el("span", { class: "dashed", "aria-hidden": "true" }), "the answer"));
}

function waterfall(spans, length, answered) {
  const step = stepOf(length), ticks = [];
  for (let at = 0; at <= length; at += step) ticks.push(at);
  const scale = svg("svg", { "aria-hidden": "true" }, ticks.map((at) => svg("text", { x: `${100 * at / length}%`, y: 12, "text-anchor": at > 0.9 * length ? "end" : at ? "middle" : "start" }, Number(at.toPrecision(3)))));
  const heads = [["who", "What, and where"], ["ms began", "At (ms)"], ["ms", "Took"]].map(([kind, text]) => el("th", { scope: "col", class: kind }, text));
  return el("table", { class: "waterfall" }, el("caption", { class: "hidden-label" }, "What the request caused, each line below the one that caused it; times in milliseconds"),
    el("thead", {}, el("tr", {}, heads, el("th", { scope: "col", class: "scale" }, el("span", { class: "hidden-label" }, "On a line of time, in milliseconds"), scale))),
    el("tbody", {}, spans.map((span, at) => lines(span, at, length, ticks, answered))));
}

function lines(span, at, length, ticks, answered) {
  const more = el("tr", { class: "more", id: `more-${at}`, hidden: true }, el("td", { colspan: 4 }, told(span)));
  const flip = (event) => { more.hidden = !more.hidden; event.currentTarget.setAttribute("aria-expanded", String(!more.hidden)); };
  const button = el("button", { class: "hop", "aria-expanded": "false", "aria-controls": more.id, onclick: flip, onkeydown: walk },
    el("span", {}, el("span", { class: "does" }, span.what), " ", el("span", { class: "at" }, span.node), span.error ? [" ", el("span", { class: "failed-word" }, "failed")] : null));
  const row = el("tr", { class: span.service }, el("th", { scope: "row", class: `who depth-${Math.min(span.depth, DEEPEST)}` }, button),
    el("td", { class: "ms began" }, milliseconds(span.start_ms)), el("td", { class: "ms" }, milliseconds(span.length_ms)), el("td", { class: "track" }, bar(span, length, ticks, answered)));
  return [row, more];
}

function bar(span, length, ticks, answered) {
  const x = WIDTH * span.start_ms / length, width = Math.max(WIDTH * span.length_ms / length, 4);
  return svg("svg", { viewBox: `0 0 ${WIDTH} 16`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ticks.map((at) => svg("line", { x1: WIDTH * at / length, x2: WIDTH * at / length, y1: -6, y2: 22 })),
    svg("line", { class: "answered", x1: WIDTH * answered / length, x2: WIDTH * answered / length, y1: -6, y2: 22 }),
    svg("rect", { x: Math.min(x, WIDTH - 4), y: 3, width, height: 10, class: `${span.kind === "client" ? "waiting" : ""} ${span.error ? "failed" : ""}` }));
}

function told(span) {
  const clock = span.shifted_ms ? { "clock of this node": `shifted by ${milliseconds(span.shifted_ms)} ms` } : {};
  const all = { span: span.name, kind: span.kind, node: span.node, ...(span.error ? { error: span.error } : {}), ...span.attributes, ...clock };
  return el("dl", {}, Object.entries(all).map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const hops = [...document.querySelectorAll(".hop")];
  hops[hops.indexOf(event.currentTarget) + step]?.focus();
  event.preventDefault();
}

function stepOf(length) {
  const rough = length / 5, power = 10 ** Math.floor(Math.log10(rough || 1));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= rough);
}

const milliseconds = (ms) => ms >= 100 ? number(Math.round(ms)) : ms >= 10 ? ms.toFixed(1) : ms === 0 ? "0" : ms.toFixed(2).replace(/\.?0+$/, "");
const names = (all) => all.length > 1 ? `${all.slice(0, -1).join(", ")} and ${all.at(-1)}` : all[0];

wanted.addEventListener("change", drawList);
hold.addEventListener("click", () => {
  const holds = hold.getAttribute("aria-pressed") !== "true";
  hold.setAttribute("aria-pressed", String(holds));
  hold.textContent = holds ? "Go on" : "Hold still";
  if (!holds) live.now();
});
const asked = new URLSearchParams(location.search).get("trace");
if (asked) choose(asked, false);
