// What this page has seen: samples of the last two minutes, and events found by comparing one with the next.
import { number, time } from "./live.js";

export const SECONDS = 120;
const SHARE_SECONDS = 30;
const EVENTS_MAX = 200;
const KEY = "bazar-history";

const POSITIONED = ["catalog", "backup"];

export class History {
  constructor(storage) {
    this.storage = storage;
    this.samples = [];
    this.events = [];
    this.nodes = null;
    try {
      const kept = JSON.parse(storage.getItem(KEY) ?? "null");
      if (kept && Date.now() - kept.at < SECONDS * 1000) Object.assign(this, { samples: kept.samples, events: kept.events, nodes: kept.nodes });
    } catch { /* an older page's: begin anew */ }
  }

  /** Keep it for the next page of this tab. */
  save() {
    const { samples, events, nodes } = this;
    this.storage.setItem(KEY, JSON.stringify({ at: Date.now(), samples, events, nodes }));
  }

  add(seen) {
    const at = Date.now();
    const positions = {};
    for (const node of seen.nodes) {
      if (POSITIONED.includes(node.service)) positions[node.node] = holds(node) ? node.position[1] : null;
    }
    const leading = leaderOf(seen);
    this.samples.push({ at, positions, epoch: leading?.epoch ?? null, leader: leading?.node ?? null, answered: seen.answered });
    this.samples = this.samples.filter((sample) => at - sample.at <= SECONDS * 1000);
    const now = Object.fromEntries(seen.nodes.map((node) => [node.node, { up: node.up, state: node.state, epoch: node.epoch }]));
    for (const [kind, text] of changes(this.nodes, now, this.leader, leading)) {
      this.events.push({ at: time(at), kind, text });
    }
    this.events = this.events.slice(-EVENTS_MAX);
    this.nodes = now;
    if (leading) this.leader = { node: leading.node, epoch: leading.epoch };
  }

  /** Share of requests of each node among its like, over the last half minute: node -> 0..1, or null. */
  shares() {
    const last = this.samples.at(-1);
    const first = this.samples.find((sample) => last.at - sample.at <= SHARE_SECONDS * 1000);
    const grew = Object.fromEntries(Object.entries(last.answered).map(([name, count]) => [name, Math.max(0, count - (first.answered[name] ?? 0))]));
    const shares = {};
    for (const names of [Object.keys(grew).filter((name) => !name.startsWith("order")), Object.keys(grew).filter((name) => name.startsWith("order"))]) {
      const all = names.reduce((sum, name) => sum + grew[name], 0);
      for (const name of names) shares[name] = all ? grew[name] / all : null;
    }
    return shares;
  }

  /** Say in words what the chart shows. */
  said() {
    const last = this.samples.at(-1);
    const known = Object.entries(last.positions).filter(([, seq]) => seq !== null);
    if (!known.length) return "No node tells its position.";
    const most = Math.max(...known.map(([, seq]) => seq));
    const parts = known.map(([name, seq]) => seq === most ? `${name} at ${number(seq)}` : `${name} at ${number(seq)}, ${number(most - seq)} behind`);
    return `${parts.join("; ")}. Epoch ${last.epoch ?? "unknown"}.`;
  }
}

// A backup that only watches holds nothing that the others do not: it is not behind.
const holds = (node) => node.up && node.position && node.state !== "watching";

export const leaderOf = (seen) => seen.nodes.find((node) => node.service === "catalog" && node.up && node.role === "leader");

function changes(before, now, oldLeader, leading) {
  if (before === null) return [];
  const found = [];
  for (const [name, node] of Object.entries(now)) {
    const was = before[name] ?? node;
    if (was.up && !node.up) found.push(["bad", `${name} does not answer`]);
    if (!was.up && node.up) found.push(["good", `${name} is back: ${node.state}`]);
    if (was.up && node.up && bare(was.state) !== bare(node.state)) found.push(["plain", `${name}: ${was.state} → ${node.state}`]);
  }
  if (leading && oldLeader && (leading.node !== oldLeader.node || leading.epoch !== oldLeader.epoch)) {
    const who = leading.node === oldLeader.node ? `${leading.node} leads on` : `${leading.node} leads, after ${oldLeader.node}`;
    found.push(["accent", `${who}: epoch ${leading.epoch}`]);
  }
  return found;
}

const bare = (state) => String(state).replace(/\d+ entr(y|ies)/, ""); // "keeping 5 entries ..." is one state

/** Say in a sentence how the shop is: `{kind: good|warn|bad, text}`. */
export function summary(seen) {
  const down = seen.nodes.filter((node) => !node.up).map((node) => node.node);
  const leading = leaderOf(seen);
  const catalogs = seen.nodes.filter((node) => node.service === "catalog" && node.up);
  const reads = catalogs.some((node) => node.reads), orders = seen.nodes.some((node) => node.service === "order" && node.up);
  const writes = Boolean(leading?.writes) && orders;
  const who = leading ? `${leading.node} leads in epoch ${leading.epoch}.` : "Nobody leads.";
  const what = reads && writes ? "Reads and purchases work."
    : reads ? `Reads work; purchases wait${leading ? "" : " for a leader"}.`
      : "Neither reads nor purchases work now, except from caches.";
  const missing = down.length ? `${list(down)} ${down.length > 1 ? "do" : "does"} not answer. ` : "";
  return { kind: reads && writes ? (down.length ? "warn" : "good") : "bad", text: `${missing}${who} ${what}` };
}

const list = (names) => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
