// Recent orders, newest first; older ones stand still while they are looked at.
import { Refused, dateTime, el, get, money, number, poll, put, sentence, tell } from "./live.js";

const ROWS = 50;
let before = 0, known = new Set();

const live = poll(() => `/ops/data/orders?limit=${ROWS}${before ? `&before=${before}` : ""}`, 2000, (found) => {
  document.getElementById("recent-said").textContent = `${number(found.total)} in all, as ${found.served_by} has them`;
  put("recent", found.items.length ? table(found.items) : el("p", { class: "muted" }, before ? "No older ones." : "Nothing has been sold yet."));
  known = new Set(found.items.map((item) => item.number));
  const last = found.items.at(-1);
  document.getElementById("older").hidden = !last || last.number <= 1;
  document.getElementById("newer").hidden = before === 0;
  document.getElementById("older").onclick = () => { before = last.number; live.now(); };
});
document.getElementById("newer").addEventListener("click", () => { before = 0; live.now(); });

function table(items) {
  return el("table", { class: "tight" },
    el("thead", {}, el("tr", {}, ["No.", "When", "What", "Copies", "Total", "Order number"].map((head, at) => el("th", { scope: "col", class: at === 0 || at === 3 || at === 4 ? "number" : null }, head)))),
    el("tbody", {}, items.map(({ number: row, order }) => el("tr", { class: known.size && !known.has(row) && !before ? "new" : null },
      el("td", { class: "number" }, number(row)), el("td", { class: "when" }, dateTime(order.created_at)), el("td", { class: "titles" }, titles(order)),
      el("td", { class: "number" }, number(copies(order))), el("td", { class: "number" }, money(order.total_cents)), el("td", {}, link(order))))));
}

const copies = (order) => order.items.reduce((sum, item) => sum + item.quantity, 0);
const titles = (order) => order.items[0].title + (order.items.length > 1 ? ` and ${order.items.length - 1} more` : "");
const link = (order) => el("a", { href: `/order/${order.order_id}`, class: "id" }, order.order_id);

document.getElementById("find").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = document.getElementById("order-id").value.trim();
  try {
    const order = await get(`/ops/data/orders/${encodeURIComponent(wanted)}`);
    put("found", el("div", { class: "note good" }, el("p", {}, link(order), ` of ${dateTime(order.created_at)}, ${money(order.total_cents)} in all, told by ${order.served_by}`),
      el("ul", {}, order.items.map((item) => el("li", {}, `${number(item.quantity)} × ${item.title}, ${money(item.price_cents)} each`)))));
  } catch (error) {
    tell("found", "warn", error instanceof Refused && error.code === "not-found" ? "There is no order of this number." : sentence(error));
  }
});
