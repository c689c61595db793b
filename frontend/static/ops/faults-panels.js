// The panels in words: the score, figures of now, the schedule, what happened.

import { el, number, put } from "./live.js";

const DIARY_SHOWN = 40;

const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

export function showScore({ receipts, nodes, pairs, leader, whole, load }) {
  for (const name of ["sold", "lost", "doubled"]) put(name, number(receipts[name]));
  for (const name of ["lost", "doubled"]) document.getElementById(`${name}-box`).dataset.bad = String(receipts[name] > 0);
  const hurt = nodes.filter((node) => node.state !== "running" || node.cut_off || node.delay_ms).map(condition)
    .concat(pairs.filter((pair) => pair.cut).map((pair) => `${pair.one} and ${pair.other} are cut off from one another`));
  const lead = leader ? `${leader} leads.` : "Nobody leads just now.";
  const words = whole && !hurt.length ? `All is well. ${lead}` : hurt.length ? `${hurt.join(", ")}. ${lead}` : `Catching up. ${lead}`;
  const verdict = document.getElementById("verdict");
  verdict.dataset.kind = leader ? (whole ? "good" : "warn") : "bad";
  if (verdict.textContent !== words) verdict.textContent = words; // spoken only when it changes
  put("score-more", more(receipts, load));
}

function more(receipts, load) {
  if (!receipts.sold && !load.rate) return "Let some shoppers in, then kill the leader.";
  const walked = receipts.listed ? `walked ${plural(receipts.walks, "time", "times")}` : "which cannot be had just now";
  const parts = [`${plural(receipts.found, "order", "orders")} found in the shop's list, ${walked}`];
  parts.push(`${plural(receipts.open, "purchase", "purchases")} not decided yet`);
  if (receipts.resolved) parts.push(`${number(receipts.resolved)} unknown at first, then resolved`);
  if (receipts.again) parts.push(`${number(receipts.again)} asked for twice, the same order each time`);
  if (receipts.sold_out) parts.push(`${number(receipts.sold_out)} sold out`);
  if (receipts.others && !receipts.open) parts.push(`${plural(receipts.others, "order", "orders")} by others: yours, perhaps`);
  return `${parts.join(" · ")}.`;
}

const TITLES = { stock: "no copy appears or is lost", catalogs: "both catalogs hold the same", orders: "both order logs hold every order" };
const STATES = { holds: ["✓", "holds"], open: ["?", "cannot be said now"], broken: ["✕", "BROKEN"] };

/** Show what `/ops` says in full; null: nobody could be asked. */
export function showInvariants(found) {
  put("invariants", (found?.verdicts ?? []).map(({ name, state, text }) => {
    const [sign, words] = STATES[state];
    return el("li", { class: `is-${state}`, title: text }, `${sign} ${TITLES[name] ?? name}: ${words}${state === "broken" ? `, ${text}` : ""}`);
  }));
}

export function condition(node) {
  const parts = [];
  if (node.state !== "running") parts.push(`is ${node.state}`);
  if (node.cut_off) parts.push("is cut off");
  if (node.delay_ms) parts.push(`is ${node.delay_ms} ms late`);
  return `${node.node} ${parts.join(" and ")}`;
}

export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  return milliseconds < 1000 ? `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

export function showFigures(recent) {
  const row = (name, rate, took) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, rate.toFixed(1)),
    ["p50", "p95", "p99"].map((part) => el("td", { class: "number" }, duration(took?.[part]))));
  put("figures", row("reads", recent.reads_per_s, recent.read_ms), row("purchases", recent.purchases_per_s, recent.purchase_ms),
    el("tr", {}, el("th", { scope: "row" }, "failed tries"), el("td", { class: "number" }, recent.failed_per_s.toFixed(1)), el("td", { colspan: 3 })));
}

export function showCodes(codes) {
  const list = Object.entries(codes).map(([code, count]) => `${code} ${number(count)}`);
  put("codes", list.length ? `Tries by answer: ${list.join(", ")}.` : "");
}

export function showSchedule(schedule) {
  put("schedule-now", schedule.running ? now(schedule) : "No schedule runs.");
  put("schedule-next", schedule.running ? schedule.next.map((words) => el("li", {}, words)) : null);
  document.getElementById("schedule-next").start = schedule.number + 1;
}

function now(schedule) {
  const on = schedule.on.map((one) => el("strong", {}, `${one.words}${one.words.includes("leader") ? ` (${one.node})` : ""}, ${Math.ceil(one.left_s)} s left`));
  const words = on.length ? on.flatMap((one) => [one, " "]) : [`${schedule.phase}.`];
  return [`Seed ${schedule.seed}${schedule.rough ? ", rough" : ""}, step ${schedule.number}: `, words];
}

export function showDiary({ diary, now: moment }) {
  const ago = (at) => { const s = Math.max(0, Math.round(moment - at)); return s < 60 ? `${s} s ago` : `${Math.floor(s / 60)} min ago`; };
  put("diary", diary.slice(-DIARY_SHOWN).reverse().map((entry) => el("li", { class: `was-${entry.kind}` },
    el("span", { class: "when" }, ago(entry.at)), " ", entry.words)));
}
