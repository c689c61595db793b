// The overview: one survey a second becomes a sentence, a drawing, a table, a chart and a list of events.
import { el, number, poll, put, send, sentence, tell } from "./live.js";
import { drawTopology, tableOf } from "./topology.js";
import { drawTimeline } from "./timeline.js";
import { History, summary } from "./history.js";

const history = new History(sessionStorage);
let seen = null;

poll("/ops/data/overview", 1000, (found) => { seen = found; history.add(seen); draw(); });
addEventListener("resize", () => { if (seen) draw(); });
addEventListener("pagehide", () => history.save());

function draw() {
  const said = summary(seen);
  const line = document.getElementById("sentence");
  if (line.textContent !== said.text) line.textContent = said.text; // or it would be spoken each second
  line.className = `note ${said.kind}`;
  put("topology", drawTopology(seen, history.shares(), widthOf("topology"), said.text));
  put("nodes", tableOf(seen, history.shares()));
  put("timeline", drawTimeline(history.samples, widthOf("timeline")));
  document.getElementById("timeline-said").textContent = history.said();
  drawEvents();
}

const widthOf = (id) => Math.max(280, document.getElementById(id).clientWidth);

let shown = 0;
function drawEvents() {
  if (shown === history.events.length && shown > 0) return;
  shown = history.events.length;
  const items = history.events.slice(-40).reverse().map((event) =>
    el("li", { class: event.kind }, el("time", {}, event.at), " ", event.text));
  put("events", items.length ? items : el("li", { class: "muted" }, "Nothing since this page was opened."));
}

const TITLES = { stock: "No copy appears or is lost", catalogs: "Both catalogs hold the same", orders: "Both order logs hold every order" };
const WORDS = { holds: "holds", open: "cannot be said now", broken: "BROKEN" };
const SIGNS = { holds: "✓", open: "?", broken: "✕" };

function drawVerdicts(found) {
  put("invariants", found.verdicts.map((verdict) => el("li", { class: verdict.state, "data-name": verdict.name, "data-state": verdict.state },
    el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[verdict.state]),
    el("div", {},
      el("p", {}, el("strong", {}, TITLES[verdict.name] ?? verdict.name), el("span", { class: "word" }, ` ${WORDS[verdict.state]}`)),
      el("p", { class: "said" }, verdict.text),
      verdict.state === "broken" ? numbers(verdict.numbers) : null))));
}

function numbers(rows) {
  const names = Object.keys(rows[0] ?? {});
  return el("table", { class: "tight" },
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, names.map((name) => el("td", {}, cell(row[name])))))));
}

const cell = (value) => Array.isArray(value) ? value.join(":") : typeof value === "number" ? number(value) : value;

const checking = poll("/ops/data/invariants", 5000, drawVerdicts);
const again = document.getElementById("again");
again.addEventListener("click", async () => {
  again.disabled = true;
  tell("again-told", "", "Reading …");
  try {
    drawVerdicts(await send("/ops/do/audit"));
    tell("again-told", "good", "Every row was read again.");
  } catch (error) {
    tell("again-told", "bad", sentence(error));
  }
  again.disabled = false;
  checking.now();
});
