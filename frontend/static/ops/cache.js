// The cache laid open: figures, counts, refused fills, entries; and the button that forgets them.
import { el, number, percent, poll, put, send, sentence, tell } from "./live.js";

const COUNTS = [["hits", "look-ups it answered"], ["misses", "look-ups it could not answer"], ["fills", "answers it kept"], ["invalidations", "messages that something changes"],
  ["invalidated", "entries those removed"], ["evictions", "entries that made room"], ["flushed", "entries forgotten by this button"]];
const WHY = {
  "no-session": "there was no lease to keep it under", "session-changed": "the lease had changed since it was asked for", "session-ended": "the lease had ended",
  "other-epoch": "it came from another epoch", "below-floor": "it was older than a write that had been told",
};

const live = poll("/ops/data/cache", 1000, (cache) => {
  put("figures", figures(cache));
  put("counts", table(["What", "Times"], COUNTS.map(([name, text]) => [text, number(cache.counts[name] ?? 0)])));
  const refused = Object.entries(cache.refused);
  put("refused", refused.length ? table(["Why", "Times"], refused.map(([name, count]) => [WHY[name] ?? name, number(count)])) : el("p", { class: "muted" }, "None so far."));
  const shown = cache.least.length + cache.most.length, hidden = cache.size - shown;
  document.getElementById("entries-said").textContent = hidden > 0
    ? `The ${cache.least.length} least and the ${cache.most.length} most recently used of ${number(cache.size)}; the first goes first when room is needed.`
    : cache.size ? "The first goes first when room is needed." : "";
  put("entries", cache.size ? entries(cache, hidden) : el("p", { class: "muted" }, "Nothing is kept now. Look at a book in the shop, and it stands here."));
});

function figures(cache) {
  const session = cache.session;
  const all = [
    ["Kept", `${number(cache.size)} of ${number(cache.capacity)}`, meter(cache.capacity ? cache.size / cache.capacity : 0, "entries kept")],
    ["Hit ratio", percent(cache.hit_ratio), meter(cache.hit_ratio ?? 0, "hit ratio")],
    ["Lease", session ? (session.left_s > 0 ? `${session.left_s.toFixed(1)} s left` : "ended") : "none", el("span", { class: "muted small" }, session ? `epoch ${session.epoch}` : "nothing is answered from the cache")],
    ["Session", session ? el("code", {}, session.id.slice(0, 12)) : "none", el("span", { class: "muted small" }, "granted by the leader")],
  ];
  return all.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, el("span", { class: "figure" }, value), more)));
}

const meter = (share, name) => el("meter", { min: 0, max: 1, value: share.toFixed(3), "aria-label": name });

function entries(cache, hidden) {
  const rows = [...cache.least.map(row), hidden > 0 ? el("tr", { class: "gap" }, el("td", { colspan: 4 }, `… ${number(hidden)} more …`)) : null, ...cache.most.map(row)];
  return el("table", { class: "tight" },
    el("thead", {}, el("tr", {}, ["Kind", "What", "Page", "As of entry"].map((head, at) => el("th", { scope: "col", class: at === 3 ? "number" : null }, head)))), el("tbody", {}, rows.filter(Boolean)));
}

const row = (entry) => el("tr", {}, el("td", {}, entry.kind), el("td", {}, entry.kind === "book" ? el("a", { href: `/book/${entry.name}` }, entry.name) : entry.name),
  el("td", {}, entry.limit === undefined ? "" : `${entry.later_page ? "a later one" : "the first"}, ${entry.limit} books`), el("td", { class: "number" }, number(entry.as_of)));

const table = (heads, rows) => el("table", { class: "tight" }, el("thead", {}, el("tr", {}, heads.map((head, at) => el("th", { scope: "col", class: at ? "number" : null }, head)))),
  el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, at) => el("td", { class: at ? "number" : null }, cell))))));

document.getElementById("flush").addEventListener("click", async () => {
  try {
    const { flushed } = await send("/ops/do/flush");
    tell("flush-told", "good", `${number(flushed)} ${flushed === 1 ? "entry" : "entries"} forgotten. The session stays, so what is read next is kept again.`);
  } catch (error) {
    tell("flush-told", "bad", sentence(error));
  }
  live.now();
});
