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
const unreadable = document.getElementById("unread");
// What has just been done is said once, not again to those who come back or are sent the address.
const address = location.href;
let shownAt = new Date();
let readAt = shownAt;
let row = -1;

{
  const plain = new URL(address);
  if (plain.searchParams.has("done")) {
    plain.searchParams.delete("done");
    history.replaceState(history.state, "", plain);
  }
}

const sayLost = (isLost) => {
  if (!lost || lost.hidden === !isLost) return;
  document.getElementById("lost-since").textContent = shownAt.toLocaleTimeString();
  lost.hidden = !isLost;
};

// Parts that cannot be read stay as they were.
const sayUnread = (failed) => {
  if (!failed) readAt = new Date();
  if (!unreadable) return;
  document.getElementById("unread-why").textContent = failed?.textContent ?? "";
  document.getElementById("unread-since").textContent = readAt.toLocaleTimeString();
  unreadable.hidden = !failed;
};

// Which control one is, whatever stands before it in another copy of its part: what it leads to, or does, and to what.
const WITHIN = "a, button, input:not([type=hidden]), select, summary, textarea";
const identity = (node) => {
  const of = (name) => node.getAttribute(name);
  const does = node.localName === "button" || node.type === "checkbox" ? `${of("value")} ${of("formaction")}` : "";
  const thing = node.closest("[data-key]")?.dataset.key ?? "";
  // What a form is about; its own fields and its key are others each time.
  const about = thing ? [] : [...(node.form?.querySelectorAll("input[type=hidden]") ?? [])];
  const fields = about.filter(({ name }) => !/^_|^idempotency_key$/.test(name)).map(({ name, value }) => `${name}=${value}`);
  const word = node.localName === "button" ? node.textContent : node.localName === "summary" ? node.parentElement.id : "";
  return JSON.stringify([node.localName, node.id, of("href"), of("name"), does, thing, word, node.form?.action, fields]);
};

// The controls of a part by their identity; the second one that is the same is another.
const controls = (part) => {
  const found = new Map();
  for (const node of part.querySelectorAll(WITHIN)) {
    let key = identity(node);
    while (found.has(key)) key += "+";
    found.set(key, node);
  }
  return found;
};

// What a visitor has opened, ticked, chosen, typed or scrolled to in a part that is replaced.
const SCROLLED = ".scroll, pre";
const isTyped = (node) => node.matches("input[type=text], select, textarea");

const keep = (part) => {
  const all = [...controls(part)];
  const active = document.activeElement;
  return {
    open: [...part.querySelectorAll("details[open]")].map((node) => node.id).filter(Boolean),
    ticked: all.filter(([, node]) => node.checked).map(([key]) => key),
    typed: all.filter(([, node]) => isTyped(node)).map(([key, node]) => [key, node.value]),
    scrolled: [...part.querySelectorAll(SCROLLED)].map((node) => [node.scrollLeft, node.scrollTop]),
    focus: all.find(([, node]) => node === active)?.[0],
    caret: part.contains(active) && isTyped(active) ? [active.selectionStart, active.selectionEnd] : [],
    at: all.find(([, node]) => node.matches("tr.at a.row"))?.[0],
  };
};

const restore = (part, kept) => {
  for (const id of kept.open) document.getElementById(id)?.setAttribute("open", "");
  const all = controls(part);
  for (const key of kept.ticked) if (all.has(key)) all.get(key).checked = true;
  for (const [key, value] of kept.typed) if (all.has(key)) all.get(key).value = value;
  for (const [n, node] of [...part.querySelectorAll(SCROLLED)].entries()) node.scrollTo(...(kept.scrolled[n] ?? [0, 0]));
  all.get(kept.at)?.closest("tr").classList.add("at");
  const focused = all.get(kept.focus);
  focused?.focus({ preventScroll: true });
  if (typeof kept.caret[0] === "number") focused?.setSelectionRange?.(...kept.caret);
};

// What is marked or pressed at this moment is left alone until it no longer is.
let pressed = null;
let isHeld = false;

const isInUse = (part) => {
  const marked = getSelection();
  return part.contains(pressed) || (!marked.isCollapsed && marked.rangeCount > 0 && marked.containsNode(part, true));
};

const release = () => {
  if (!isHeld || pressed || ![...document.querySelectorAll("[data-live]")].every((part) => !isInUse(part))) return;
  isHeld = false;
  refresh();
};

const replace = (page) => {
  let unread = page.querySelector("#main > [data-failed]");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = page.getElementById(part.id);
    const failed = next?.querySelector("[data-failed]");
    if (failed && !part.querySelector("[data-failed]")) {
      unread ??= failed;
      continue;
    }
    if (!next || next.innerHTML === part.dataset.was) continue;
    if (isInUse(part)) {
      isHeld = true;
      continue;
    }
    const was = next.innerHTML;
    const kept = keep(part);
    part.replaceChildren(...next.childNodes);
    part.dataset.was = was;
    restore(part, kept);
  }
  sayUnread(unread);
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
      const answer = await fetch(address, { headers, redirect: "manual" });
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
  // Whoever is no longer signed in is led to where one does.
  if (answer.redirected) { location.href = answer.url; return; }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const said = page.getElementById("commands-page") ?? page.querySelector("#main > [role=alert]");
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
  const at = rows.findIndex((node) => node.classList.contains("at"));
  if (at >= 0) row = at;
  rows[at]?.classList.remove("at");
  row = Math.min(Math.max(row + by, 0), rows.length - 1);
  rows[row].classList.add("at");
  rows[row].querySelector("a.row").focus();
};

// Menus close when one turns to something else. Forms open where a field is wrong, for a browser cannot show it otherwise.
const closeMenus = (but) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu === but) continue;
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    menu.open = false;
  }
};

document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("invalid", (event) => {
  for (let node = event.target; node; node = node.parentElement) if (node.localName === "details") node.open = true;
}, true);

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeMenus();
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
document.addEventListener("pointerdown", (event) => { pressed = event.button === 0 ? event.target : null; });
// The click comes after the button is let go.
for (const kind of ["pointerup", "pointercancel"]) {
  addEventListener(kind, () => setTimeout(() => { pressed = null; release(); }));
}
document.addEventListener("selectionchange", release);
document.querySelector("main [aria-invalid=true]")?.focus();
withCopy(document);
addLocal();
tick();
setInterval(tick, 1000);
listen();
if (document.querySelector("[data-coming]")) refresh();
