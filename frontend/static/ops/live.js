// What every tab of the control room uses: asking again and again, building elements, doing things.

const SVG = "http://www.w3.org/2000/svg";
const IDLE_MS = 20 * 60 * 1000; // a room that nobody touches asks a tenth as often
const ERROR_MS_MAX = 10_000;
const REQUESTED_BY = { "X-Requested-By": "bazar" };

let touched = performance.now();
for (const kind of ["pointerdown", "pointermove", "keydown", "scroll"]) {
  addEventListener(kind, () => { touched = performance.now(); }, { passive: true, capture: true });
}

/** What the server said no with: `code` and `detail` of its problem document. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the server answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.problem = problem;
  }
}

/** Ask `url` (a string, or a function that returns one) every `everyMs` and hand its JSON to
 *  `render`. Sleeps while the page is hidden, slows down while nobody is there. Returns
 *  `{now(), stop()}`; `now()` asks at once, for instance after an action. */
export function poll(url, everyMs, render) {
  let timer = 0, failures = 0, stopped = false, asking = null, again = false;

  async function ask() {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    if (asking) { again = true; return asking; }
    asking = once().finally(() => { asking = null; });
    await asking;
    if (again) { again = false; return ask(); }
    timer = setTimeout(ask, pauseMs());
  }

  async function once() {
    try {
      const found = await get(typeof url === "function" ? url() : url);
      failures = 0;
      if (!stopped) { render(found); said("live", `live, ${time(new Date())}`); }
    } catch (error) {
      failures += 1;
      said(error instanceof Refused ? "troubled" : "silent", sentence(error));
    }
  }

  const pauseMs = () => failures ? Math.min(everyMs * 2 ** failures, ERROR_MS_MAX)
    : performance.now() - touched > IDLE_MS ? everyMs * 10 : everyMs;
  const wake = () => { if (!document.hidden) ask(); };
  document.addEventListener("visibilitychange", wake);
  ask();
  return { now: ask, stop() { stopped = true; clearTimeout(timer); document.removeEventListener("visibilitychange", wake); } };
}

/** Return the JSON at `url`; throws `Refused`, or what `fetch` throws when nobody answers. */
export async function get(url) {
  return answered(await fetch(url, { headers: { Accept: "application/json" } }));
}

/** POST `body` as JSON, or as it is when it is a string, with the header that only our own pages
 *  send; `key` is an idempotency key. Returns the JSON answered; throws `Refused`. */
export async function send(url, body = {}, key = "") {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const headers = { ...REQUESTED_BY, ...(key ? { "Idempotency-Key": key } : {}) };
  return answered(await fetch(url, { method: "POST", headers, body: text }));
}

async function answered(response) {
  if (response.status === 401) { location.assign(`/ops/login?next=${location.pathname}`); }
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, document);
  return document;
}

/** Return a new idempotency key: one for each thing a person wants done, kept while it is retried. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Build an element: `el("a", {href: "/ops", class: "x", onclick: f}, "text", child, ...)`. Attributes
 *  that are null, undefined or false are left out; children may be nested lists; text is text. */
export function el(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, tag), attributes, children);
}

function built(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return element;
}

const asNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

/** Show `children` in the element with this id, in place of what it holds. */
export function put(id, ...children) {
  const holder = document.getElementById(id);
  holder.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return holder;
}

/** Say in the line under a form what came of it: `kind` is good, warn or bad. */
export function tell(id, kind, text) {
  put(id, text ? el("p", { class: `note ${kind}` }, text) : null);
}

export const number = (value) => value === null || value === undefined ? "–" : new Intl.NumberFormat("en").format(value);
export const money = (cents) => new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(cents / 100);
export const percent = (share) => share === null ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
export const time = (moment) => new Date(moment).toLocaleTimeString("en-GB");
export const dateTime = (moment) => `${new Date(moment).toLocaleDateString("en-CA")} ${time(moment)}`;

/** Return in a sentence what went wrong. */
export function sentence(error) {
  if (error instanceof Refused) return error.message;
  if (error instanceof TypeError) return "this frontend does not answer; what you see is what was known last";
  return String(error);
}

// The line at the top right: spoken only when its kind changes, not every second.
function said(kind, text) {
  const line = document.getElementById("live");
  if (line === null) return;
  line.setAttribute("aria-live", line.dataset.kind === kind ? "off" : "polite");
  line.dataset.kind = kind;
  document.getElementById("live-text").textContent = text;
}
