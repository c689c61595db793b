// The page where a demo is broken: asks every second how it is, and sends what the buttons want.

import { number, poll, send, sentence, tell } from "./live.js";
import { drawChart } from "./faults-chart.js";
import { drawMap, showLinks, showNodes } from "./faults-nodes.js";
import { showCodes, showDiary, showFigures, showSchedule, showScore } from "./faults-panels.js";

const field = (id) => document.getElementById(id);
const state = poll("/ops/data/demo", 1000, render);
let last = null;

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
  field("restarts").checked = found.restarts;
  field("load-stop").disabled = found.load.rate === 0;
  field("schedule-stop").disabled = !found.schedule.running;
  field("load-start").textContent = found.load.rate === 0 ? "Let them in" : "Change the rate";
}

/** Have something done; say what came of it, and look at once. */
async function act(path, body, words) {
  try {
    await send(path, body);
    tell("said", "good", words);
  } catch (error) {
    const gone = error instanceof TypeError && body.node?.startsWith("frontend");
    tell("said", "warn", gone ? "That frontend serves this page; it comes back by itself in a few seconds." : sentence(error));
  }
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
field("heal").addEventListener("click", () => fault({ do: "heal" }, "Everything is mended."));
addEventListener("resize", () => { if (last) drawChart(field("chart"), last); });
