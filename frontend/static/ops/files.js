// A delivery in, all books out: both part by part, so that neither holds the shop up.
import { el, get, number, put, send, sentence, tell } from "./live.js";

const BYTES_MAX = 64 * 1024;
const byId = (id) => document.getElementById(id);

/** Wire the two; `changed` is called when copies have arrived. */
export function wireFiles(changed) {
  byId("delivery").addEventListener("submit", (event) => { event.preventDefault(); receive(changed); });
  byId("download").addEventListener("click", download);
}

async function receive(changed) {
  const file = byId("file").files[0];
  if (file.size > BYTES_MAX) {
    tell("delivery-told", "warn", `This file has ${number(Math.ceil(file.size / 1024))} KiB; the desk takes up to 64. Load it on the machine of a node: make import FILE=${file.name}. What has arrived already is not added twice.`);
    return;
  }
  const text = await file.text(), report = { added: 0, copies: 0, bad: [] }, bar = byId("delivery-progress");
  const button = byId("delivery").querySelector("button");
  let from = 0, stopped = "";
  button.disabled = true;
  bar.hidden = false;
  try {
    while (from !== null && !stopped) {
      const part = await send(`/ops/do/delivery?from=${from}`, text);
      report.added += part.added;
      report.copies += part.copies;
      report.bad.push(...part.bad);
      bar.value = part.rows ? (report.added + report.bad.length) / part.rows : 1;
      from = part.next;
      stopped = part.stopped ?? "";
    }
  } catch (error) {
    stopped = sentence(error);
  }
  button.disabled = false;
  bar.hidden = true;
  told(report, stopped, from);
  changed();
}

function told(report, stopped, from) {
  const kind = stopped ? "bad" : report.bad.length ? "warn" : "good";
  put("delivery-told", el("div", { class: `note ${kind}` },
    el("p", {}, `${number(report.added)} rows received, ${number(report.copies)} copies.`, stopped ? ` Then it stopped${from ? ` at line ${from}` : ""}: ${stopped}. Press the button again: what is in is not added twice.` : ""),
    report.bad.length ? el("ul", {}, report.bad.slice(0, 100).map((row) => el("li", {}, `line ${row.line}: ${row.reason}`))) : null,
    report.bad.length > 100 ? el("p", {}, `… and ${number(report.bad.length - 100)} more`) : null));
}

async function download() {
  const button = byId("download"), parts = [];
  let after = null, books = 0;
  button.disabled = true;
  try {
    do {
      const part = await get(`/ops/data/inventory${after ? `?after=${after}` : ""}`);
      parts.push(part.csv);
      books += part.books;
      after = part.next;
      byId("download-told").textContent = `${number(books)} of ${number(part.total)} books`;
    } while (after !== null);
    const address = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
    el("a", { href: address, download: "books.csv" }).click();
    URL.revokeObjectURL(address);
  } catch (error) {
    byId("download-told").textContent = sentence(error);
  }
  button.disabled = false;
}
