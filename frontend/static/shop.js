// What the shop's pages do better with JavaScript: books are suggested while somebody types, and a button
// that was pressed says so. All of it works without.

const WAIT_MS = 120, SUGGESTED = 7;

// "Lem, Stanisław" is Stanisław Lem.
const name = author => author.replace(/^([^,(]+), ([^,(]+)( \(.*)?$/, "$2 $1");

function suggest(input) {
  const list = document.createElement("ul");
  const told = document.createElement("p");
  let chosen = -1, waiting = 0, asking = new AbortController();
  Object.assign(list, { id: "suggestions", className: "suggestions", role: "listbox", ariaLabel: "Books" });
  Object.assign(told, { className: "hidden-label", role: "status" });
  input.after(list, told);
  const attributes = {
    role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false",
  };
  for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);

  function close() {
    clearTimeout(waiting);
    asking.abort();
    show([]);
    told.textContent = "";
  }

  function show(books) {
    list.replaceChildren(...books.map(option));
    input.setAttribute("aria-expanded", String(books.length > 0));
    choose(-1);
  }

  function option(book, index) {
    const item = document.createElement("li");
    Object.assign(item, { id: `suggestion-${index}`, role: "option" });
    item.dataset.book = book.id;
    for (const text of [book.title, book.authors.map(name).join(", ")]) {
      const part = document.createElement("span");
      Object.assign(part, { dir: "auto", textContent: text });
      item.append(part);
    }
    return item;
  }

  function choose(index) {
    chosen = index;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === index)));
    if (index < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", list.children[index].id);
  }

  async function ask() {
    const text = input.value.trim();
    asking.abort();
    asking = new AbortController();
    if (!text) return close();
    try {
      const query = new URLSearchParams({ q: text, limit: SUGGESTED });
      const answer = await fetch(`/books?${query}`, { signal: asking.signal });
      const found = answer.ok ? await answer.json() : { items: [], total: 0 };
      show(found.items);
      told.textContent = found.total === 1 ? "1 book found" : `${found.total} books found`;
    } catch (error) {
      if (error.name !== "AbortError") show([]);
    }
  }

  const keys = {
    ArrowDown: () => choose(chosen + 1 < list.children.length ? chosen + 1 : -1),
    ArrowUp: () => choose(chosen < 0 ? list.children.length - 1 : chosen - 1),
    Escape: close,
    Enter: () => chosen < 0 || go(list.children[chosen]),
  };
  const go = item => location.assign(`/book/${item.dataset.book}`);

  input.addEventListener("keydown", event => {
    const act = list.children.length && !event.isComposing && keys[event.key];
    if (!act) return;
    if (event.key !== "Enter" || chosen >= 0) event.preventDefault();
    act();
  });
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, WAIT_MS);
  });
  input.addEventListener("blur", close);
  list.addEventListener("mousedown", event => event.preventDefault());  // the field keeps the focus
  list.addEventListener("click", event => {
    const item = event.target.closest("li");
    if (item) go(item);
  });
}

function sayWhenBusy(form) {
  const button = form.querySelector("button"), words = button.textContent;
  form.addEventListener("submit", () => { button.textContent = form.dataset.busy; });
  addEventListener("pageshow", () => { button.textContent = words; });  // come back to by "back"
}

suggest(document.getElementById("q"));
document.querySelectorAll("form[data-busy]").forEach(sayWhenBusy);
