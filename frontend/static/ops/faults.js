// The page where a demo is broken: asks every second how it is, and sends what the buttons want.

import { get, number, poll, send, sentence, tell } from "./live.js";
import { drawChart } from "./faults-chart.js";
import { drawMap, showLinks, showNodes } from "./faults-nodes.js";
import { showCodes, showDiary, showFigures, showInvariants, showSchedule, showScore } from "./faults-panels.js";

const field = (id) => document.getElementById(id);
const state = poll("/ops/data/demo", 1000, render);
const SAID_MS = 8000, CHECK_MS = 5000;
let last = null, silence = 0, acting = 0;

function render(found) {
  if (last === null && found.load.rate > 0) showRate(found.load.rate);
  last = found;
  showScore(found);
  showFigures(found.load.recent);
  showCodes(found.load.codes);
  showNodes(found, fault);
  showLinks(found, fault);
  drawMap(found);
  showSchedule(found.schedule);
  showDiary(found);
  drawChart(field("chart"), found);
  showLeaderButton(found);
  if (!acting) field("restarts").checked = found.restarts;
  field("load-stop").disabled = found.load.rate === 0;
  field("schedule-stop").disabled = !found.schedule.running;
  field("load-start").textContent = found.load.rate === 0 ? "Let them in" : "Change the rate";
}

/** Have the invariants checked, every few seconds: nodes that are away make it slow, so it waits for nobody. */
async function check() {
  if (!document.hidden) await get("/ops/data/invariants").then(showInvariants, () => showInvariants(null));
  setTimeout(check, CHECK_MS);
}
check();

// The one button that is the point of it all: kill whoever leads, and start a dead catalog again.
function showLeaderButton({ leader, nodes }) {
  const button = field("leader-button");
  const dead = nodes.find((node) => node.service === "catalog" && node.state === "dead");
  button.textContent = dead ? `Start ${dead.node} again` : "Kill the leader";
  button.disabled = !dead && !leader;
  button.onclick = () => dead ? fault({ do: "restart", node: dead.node }, `${dead.node} is started again.`)
    : fault({ do: "kill", node: leader }, `${leader} was killed.`);
}

/** Have something done; say for a while what came of it, and look at once. */
async function act(path, body, words) {
  clearTimeout(silence);
  acting += 1;
  try {
    await send(path, body);
    tell("said", "good", words);
  } catch (error) {
    const gone = error instanceof TypeError && body.node?.startsWith("frontend");
    tell("said", "warn", gone ? "That frontend serves this page; it comes back by itself in a few seconds." : sentence(error));
  }
  acting -= 1;
  silence = setTimeout(() => tell("said", "", ""), SAID_MS);
  state.now();
}

const fault = (body, words) => act("/ops/do/fault", body, words);

function showRate(rate) {
  field("rate").value = rate;
  field("rate-shown").textContent = rate;
}

field("rate").addEventListener("input", () => showRate(field("rate").value));
field("load-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const rate = Number(field("rate").value);
  act("/ops/do/load", { rate }, `${number(rate)} shoppers a second.`);
});
field("load-stop").addEventListener("click", () => act("/ops/do/load", { rate: 0 }, "No more shoppers come; who waits is still served."));
field("schedule-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const seed = Number(field("seed").value), rough = field("rough").checked;
  act("/ops/do/schedule", { do: "start", seed, rough }, `Schedule ${seed} runs.`);
});
field("schedule-stop").addEventListener("click", () => act("/ops/do/schedule", { do: "stop" }, "The schedule has stopped; what it had broken is mended."));
field("restarts").addEventListener("change", () => fault({ do: "restarts", on: field("restarts").checked },
  field("restarts").checked ? "Dead nodes are started again after 3 seconds." : "Dead nodes stay dead until you start them."));
field("heal").addEventListener("click", () => fault({ do: "heal" }, "Everything is mended, and no schedule runs."));
addEventListener("resize", () => { if (last) drawChart(field("chart"), last); });
