// What the pages do beside being read: they keep up with the service, count down, copy, and obey a few keys.
// Everything works without it, but for that.
"use strict";

// ---- Times

const span = (seconds) =>
  seconds < 100 ? `${seconds} s`
  : seconds < 6000 ? `${Math.floor(seconds / 60)} min`
  : seconds < 172800 ? `${Math.floor(seconds / 3600)} h`
  : `${Math.floor(seconds / 86400)} d`;

const tick = () => {
  for (const node of document.querySelectorAll("time[data-relative]")) {
    const seconds = Math.round((Date.parse(node.dateTime) - Date.now()) / 1000);
    const text = Math.abs(seconds) <= 1 ? "now" : seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
    if (node.textContent !== text) node.textContent = text;
  }
};

const stamp = (at, minutes) => {
  const [day, time] = new Date(at.valueOf() + minutes * 60000).toISOString().split(/[T.]/);
  const part = (number) => String(Math.trunc(Math.abs(number))).padStart(2, "0");
  return `${day} ${time} ${minutes < 0 ? "-" : "+"}${part(minutes / 60)}:${part(minutes % 60)}`;
};

// Whose clock the times are told by: that of the schedule, as the page gives them, the browser's, or UTC.
const CLOCKS = {
  given: ["Times of the schedule", (node) => node.dataset.given],
  here: ["Times here", (node, at) => stamp(at, -at.getTimezoneOffset())],
  utc: ["Times in UTC", (node, at) => stamp(at, 0).replace("+00:00", "UTC")],
};
const clock = document.getElementById("clock");
let told = "given";
try { told = localStorage.getItem("clock") ?? told; } catch { /* It is forgotten with the page. */ }
if (!CLOCKS[told]) told = "given";

// Every time also says what the browser's clock shows then.
const addLocal = () => {
  for (const node of document.querySelectorAll("time:not([data-relative])")) {
    const at = new Date(node.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    if (node.dataset.given === undefined) {
      node.dataset.given = node.textContent;
      node.title += ` · here ${stamp(at, -at.getTimezoneOffset())}`;
    }
    const text = CLOCKS[told][1](node, at);
    if (node.textContent !== text) node.textContent = text;
  }
  if (clock) clock.textContent = CLOCKS[told][0];
};

if (clock) {
  clock.hidden = false;
  clock.addEventListener("click", () => {
    const all = Object.keys(CLOCKS);
    told = all[(all.indexOf(told) + 1) % all.length];
    try { localStorage.setItem("clock", told); } catch { /* As above. */ }
    addLocal();
  });
}

// ---- Keeping up

const lost = document.getElementById("lost");
let shownAt = new Date();
let row = -1;

const sayLost = (isLost) => {
  if (!lost || lost.hidden === !isLost) return;
  document.getElementById("lost-since").textContent = shownAt.toLocaleTimeString();
  lost.hidden = !isLost;
};

// What a visitor has opened, ticked, chosen or typed in a part that is replaced.
const controls = (part) => [...part.querySelectorAll("a, button, input, summary, textarea")];

const keep = (part) => ({
  open: [...part.querySelectorAll("details[open]")].map((node) => node.id).filter(Boolean),
  ticked: [...part.querySelectorAll("input[type=checkbox]:checked")].map((node) => `${node.name} ${node.value}`),
  typed: [...part.querySelectorAll("input[type=text], textarea")].map((node) => [node.name, node.value]),
  focus: controls(part).indexOf(document.activeElement),
});

const restore = (part, kept) => {
  for (const id of kept.open) document.getElementById(id)?.setAttribute("open", "");
  for (const node of part.querySelectorAll("input[type=checkbox]")) {
    if (kept.ticked.includes(`${node.name} ${node.value}`)) node.checked = true;
  }
  const typed = [...kept.typed];
  for (const node of part.querySelectorAll("input[type=text], textarea")) {
    const [name, value] = typed.shift() ?? [];
    if (name === node.name) node.value = value;
  }
  if (kept.focus >= 0) controls(part)[kept.focus]?.focus({ preventScroll: true });
};

const replace = (page) => {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = page.getElementById(part.id);
    if (!next || next.innerHTML === part.dataset.was) continue;
    const was = next.innerHTML;
    const kept = keep(part);
    part.replaceChildren(...next.childNodes);
    part.dataset.was = was;
    restore(part, kept);
  }
  addLocal();
  tick();
};

let isAsking = false;
let isStale = false;
let pause = 0;

const refresh = async () => {
  isStale = true;
  if (isAsking || document.hidden) return;
  isAsking = true;
  while (isStale && !document.hidden) {
    isStale = false;
    const began = performance.now();
    try {
      // Whoever reads sees a page already, so this one may wait for parts that take long.
      const headers = { Accept: "text/html", Prefer: "wait" };
      const answer = await fetch(location.href, { headers, redirect: "manual" });
      if (answer.type === "opaqueredirect") { location.reload(); return; }
      const text = await answer.text();
      if (answer.headers.get("content-type")?.startsWith("text/html")) {
        replace(new DOMParser().parseFromString(text, "text/html"));
        shownAt = new Date();
        sayLost(false);
      }
    } catch {
      sayLost(true);
      isStale = true;
    }
    // A page that takes long to make is asked for less often.
    pause = Math.max(500, 5 * (performance.now() - began));
    await new Promise((done) => setTimeout(done, Math.min(pause, 10000)));
  }
  isAsking = false;
};

let events;
let retry;

const listen = () => {
  clearTimeout(retry);
  events?.close();
  if (document.hidden || !document.querySelector("[data-live]")) return;
  events = new EventSource("/events");
  events.addEventListener("change", refresh);
  events.addEventListener("error", () => {
    // The browser comes back by itself, unless it was refused: then the page asks now and then.
    refresh();
    if (events.readyState === EventSource.CLOSED) retry = setTimeout(listen, 3000);
  });
};

// ---- Copying, and actions as commands

const copy = async (button) => {
  await navigator.clipboard.writeText(button.closest(".copy").querySelector("pre").textContent);
  const text = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = text; }, 1500);
};

const withCopy = (root) => {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
};

document.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (!button?.hasAttribute("data-command")) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  const answer = await fetch(button.formAction, { method: "POST", body });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const said = page.getElementById("commands-page") ?? page.querySelector("main [role=alert]");
  const target = document.getElementById("commands-body");
  target.replaceChildren(...(said ? [said] : []));
  withCopy(target);
  document.getElementById("commands").showModal();
});

// ---- Keys

const isTyping = (node) => node.closest("input, textarea, select, [contenteditable]") !== null;
const SCREENS = { n: "/", s: "/schedules", f: "/failures", u: "/upcoming" };
let isGoing = false;

const move = (by) => {
  const rows = [...document.querySelectorAll("main tr:has(a.row)")];
  if (!rows.length) return;
  rows[row]?.classList.remove("at");
  row = Math.min(Math.max(row + by, 0), rows.length - 1);
  rows[row].classList.add("at");
  rows[row].querySelector("a.row").focus();
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (isGoing) {
    isGoing = false;
    if (SCREENS[event.key]) location.href = SCREENS[event.key];
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "g") isGoing = true;
  else if (event.key === "?") document.getElementById("help")?.showModal();
});

document.addEventListener("visibilitychange", () => (document.hidden ? events?.close() : listen()));
addEventListener("pagehide", () => events?.close());
withCopy(document);
addLocal();
tick();
setInterval(tick, 1000);
listen();
if (document.querySelector("[data-coming]")) refresh();
