// What is on the page is kept true: when something happens, the page is fetched again and its main part replaced.
// Without this file every page can be read all the same.
"use strict";
(() => {
  const QUIET_MS = 10000, SOON_MS = 400, BETWEEN_MS = 1500, AGAIN_MS = 4000;
  const button = document.getElementById("live");
  const told = document.getElementById("asof-text");
  let source = null, timer = null, again = null, fetched = Date.now(), failing = false;

  const main = () => document.getElementById("main");

  function ago(ms) {
    const s = Math.floor(ms / 1000);
    if (s < 1) return "just now";
    if (s < 120) return `${s} s ago`;
    if (s < 7200) return `${Math.floor(s / 60)} min ago`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
    return `${Math.floor(s / 86400)} d ago`;
  }

  function tick() {
    for (const time of document.querySelectorAll("time[data-ago]")) time.textContent = ago(Date.now() - Date.parse(time.dateTime));
    if (failing) told.textContent = `Not reached for ${ago(Date.now() - fetched).replace(" ago", "")}`;
  }

  async function refresh() {
    timer = null;
    // Never under the reader's hands: a form that is being filled in, a text that is being selected.
    const busy = document.activeElement?.matches("main input, main select") || !document.getSelection().isCollapsed;
    if (busy) return soon(BETWEEN_MS);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok && !main().dataset.failed) throw new Error(String(answer.status));
      replace(page);
      fetched = Date.now();
      failing = false;
    } catch {
      failing = true;
      tick();
    }
    button.classList.toggle("lost", failing);
  }

  function replace(page) {
    const old = main(), fresh = page.getElementById("main");
    const open = new Set([...old.querySelectorAll("details[open]")].map((each) => each.id));
    const known = new Set([...old.querySelectorAll("tr[data-key]")].map((each) => each.dataset.key));
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    for (const each of fresh.querySelectorAll("details")) each.open = open.has(each.id);
    if (known.size) for (const row of fresh.querySelectorAll("tr[data-key]")) row.classList.toggle("fresh", !known.has(row.dataset.key));
    old.replaceWith(document.adoptNode(fresh));
    if (focused && focused !== old) {
      const same = [...fresh.querySelectorAll(focused.localName)].find((each) => each.getAttribute("href") === focused.getAttribute("href") && each.id === focused.id);
      same?.focus({ preventScroll: true });
    }
    told.innerHTML = page.getElementById("asof-text").innerHTML;
    tick();
  }

  function happened() {
    soon(Math.max(SOON_MS, BETWEEN_MS - (Date.now() - fetched)));
    clearTimeout(again);  // the ledger is a moment behind the stream, and a longer one when much happens
    again = setTimeout(() => on() && soon(0), AGAIN_MS);
  }

  function soon(ms) {
    timer ??= setTimeout(refresh, ms);
  }

  function start() {
    const stream = main().dataset.stream;
    if (stream !== undefined) {
      source = new EventSource(`/api/v1/events/stream?${stream}`);
      source.onmessage = happened;
      source.onopen = happened;  // something may have, between the page and its stream
    }
    button.setAttribute("aria-pressed", "true");
  }

  function stop() {
    source?.close();
    source = null;
    clearTimeout(timer);
    timer = null;
    button.setAttribute("aria-pressed", "false");
  }

  if (main().dataset.still !== undefined) return;  // a page that asks something: nothing moves under the reader's hands
  const on = () => button.getAttribute("aria-pressed") === "true";
  button.hidden = false;
  button.addEventListener("click", () => (on() ? stop() : (start(), soon(0))));
  document.addEventListener("visibilitychange", () => on() && !document.hidden && soon(0));
  setInterval(tick, 1000);
  setInterval(() => on() && !document.hidden && soon(0), QUIET_MS);  // ages and what a lost stream did not tell
  start();
})();
