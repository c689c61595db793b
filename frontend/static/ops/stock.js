// The stock desk. Each thing a person wants done has one key until it is done: a double click counts once.
import { Refused, dateTime, el, get, money, newKey, number, poll, put, send, sentence, tell } from "./live.js";
import { wireFiles } from "./files.js";

const byId = (id) => document.getElementById(id);
let after = "", chosen = null;
const keys = new Map();  // what is wanted -> its key, until the shop has said what came of it

// --- low stock ---

const lowUrl = () => `/ops/data/stock?below=${Math.max(1, Number.parseInt(byId("below").value, 10) || 1)}&limit=20${after ? `&after=${after}` : ""}`;
const low = poll(lowUrl, 5000, (found) => {
  byId("low-said").textContent = `${number(found.total)} ${found.total === 1 ? "book" : "books"}, fewest copies first`;
  put("low", found.items.length ? books(found.items) : el("p", { class: "muted" }, "None: every book has as many."));
  byId("more").hidden = !found.next;
  byId("first").hidden = !after;
  byId("more").onclick = () => { after = found.next; low.now(); };
});
byId("first").addEventListener("click", () => { after = ""; low.now(); });
byId("below").addEventListener("input", () => { after = ""; low.now(); });
byId("below").form.addEventListener("submit", (event) => event.preventDefault());

function books(items) {
  const stocked = items.every((book) => book.quantity !== undefined);
  return el("table", { class: "tight" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Book"), el("th", { scope: "col", class: "number" }, "Price"), stocked ? el("th", { scope: "col", class: "number" }, "Copies") : null)),
    el("tbody", {}, items.map((book) => el("tr", {},
      el("td", {}, el("button", { class: "plain choose", onclick: () => choose(book.id) }, book.title), el("span", { class: "muted small" }, ` ${book.authors.join("; ")}`)),
      el("td", { class: "number" }, money(book.price_cents)),
      stocked ? el("td", { class: `number${book.quantity ? "" : " none"}` }, number(book.quantity)) : null))));
}

// --- one book ---

byId("find").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const found = await get(`/ops/data/books?q=${encodeURIComponent(byId("q").value)}`);
    put("found", found.items.length ? books(found.items) : el("p", { class: "note warn" }, "No book has this."));
    if (found.items.length === 1) choose(found.items[0].id);
  } catch (error) {
    tell("found", "bad", sentence(error));
  }
});

async function choose(id, quiet = false) {
  try {
    show(await get(`/ops/data/books/${id}`), quiet);
    if (!quiet) { tell("book-told", "", ""); byId("book").focus(); byId("book").scrollIntoView({ block: "nearest" }); }
  } catch (error) {
    tell("book-told", "bad", sentence(error));
  }
}

function show({ book, received, movements }, quiet) {
  chosen = book;
  byId("book-title").textContent = book.title;
  put("book-facts", el("p", {}, `${book.authors.join("; ")} · `, el("a", { href: `/book/${book.id}` }, `No. ${book.id}`), book.sku ? ` · ${book.sku}` : ""),
    el("dl", { class: "figures" }, fact("In stock", number(book.quantity), "stock-now"), fact("Price", money(book.price_cents), "price-now"), fact("Received", number(received)), fact("Sold", number(received - book.quantity))));
  byId("book-forms").hidden = false;
  if (!quiet || document.activeElement !== byId("price-amount")) byId("price-amount").value = (book.price_cents / 100).toFixed(2);
  put("movements", el("table", { class: "tight" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "When"), el("th", { scope: "col" }, "What"), el("th", { scope: "col", class: "number" }, "Copies"))),
    el("tbody", {}, movements.map((one) => el("tr", {}, el("td", {}, dateTime(one.at)), el("td", {}, what(one)), el("td", { class: "number" }, one.quantity ? `${one.quantity > 0 ? "+" : "−"}${number(Math.abs(one.quantity))}` : ""))))));
}

const fact = (name, value, id) => el("div", {}, el("dt", {}, name), el("dd", {}, el("span", { class: "figure", id }, value)));
const what = (one) => one.kind === "sold" ? ["sold: ", el("a", { href: `/order/${one.order_id}`, class: "id" }, one.order_id)]
  : one.kind === "edited" ? `${(one.fields ?? []).join(", ").replace("price_cents", "price")} changed${one.reason ? `: ${one.reason}` : ""}`
    : `received${one.reason ? `: ${one.reason}` : ""}`;

function wire(formId, url, said, bodyOf) {
  const form = byId(formId);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const reason = byId(`${formId}-reason`).value.trim();
    const body = { book_id: chosen.id, ...bodyOf(), ...(reason ? { reason } : {}) };
    const wanted = JSON.stringify([url, body]);
    if (keys.get(wanted)?.running) return;  // a double click
    const key = keys.get(wanted)?.key ?? newKey();
    keys.set(wanted, { key, running: true });
    try {
      const book = await send(url, body, key);
      keys.delete(wanted);
      tell("book-told", "good", said(book));
      byId(`${formId}-reason`).value = "";
    } catch (error) {
      // Of no answer, or an unknown outcome, the same key tells later: so it is kept for the next try.
      const decided = error instanceof Refused && ![409, 429, 503].includes(error.status);
      if (decided) keys.delete(wanted); else keys.set(wanted, { key, running: false });
      tell("book-told", "bad", decided ? sentence(error) : `${sentence(error)}. You may safely press the button again: it counts once.`);
    }
    await choose(chosen.id, true);
    low.now();
  });
}

wire("restock", "/ops/do/restock", (book) => `Received. There are ${number(book.quantity)} copies now.`, () => ({ quantity: byId("restock-quantity").valueAsNumber }));
wire("price", "/ops/do/price", (book) => `It costs ${money(book.price_cents)} now.`, () => ({ price_cents: Math.round(100 * Number.parseFloat(byId("price-amount").value.replace(",", "."))) }));
wireFiles(() => { low.now(); if (chosen) choose(chosen.id, true); });
