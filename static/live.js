// Live pages: when the stream says that something changed, fetch this page again and swap its named parts.
// The page is complete without this script. It never touches a part in which somebody is typing or choosing.
"use strict";
(() => {
  const POLL_MS = 5000;
  const REFUSED_MS = 60000;
  const PATIENCE_MS = 20000;
  const stream = document.body.dataset.live.trim();
  let source = null;
  let timer = null;
  let busy = false;
  let again = false;
  let wanted = 0;
  let retryMs = 0;
  let beatMs = 15000; // the stream says how often it is heard at least
  let spreadMs = 0;
  let watch = null;

  const parts = (root) => new Map([...root.querySelectorAll("[data-part]")].map((el) => [el.dataset.part, el]));
  const known = () => Number(document.body.dataset.changes);
  const news = (root) => root.querySelector("[data-announce]")?.textContent.trim().replace(/\s+/g, " ");

  function inUse(part) {
    const selection = getSelection();
    const selected = selection && !selection.isCollapsed && selection.containsNode(part, true);
    const typing = part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
    return selected || typing || part.querySelector(".copied");
  }

  function replace(part, next) {
    const held = part.contains(document.activeElement) ? document.activeElement : null;
    part.replaceWith(next);
    if (!held) return;
    const same = (el) => el.dataset.copy === held.dataset.copy && el.getAttribute("href") === held.getAttribute("href");
    [...next.querySelectorAll("a, button, [tabindex]")].find(same)?.focus({ preventScroll: true });
  }

  function swap(fresh, told) {
    const before = news(document);
    const newParts = parts(fresh);
    // An unchanged page comes out of the browser's own store, and says what it was first made from.
    document.body.dataset.changes = Math.max(Number(fresh.body.dataset.changes), told);
    for (const [name, part] of parts(document)) {
      const next = newParts.get(name);
      if (!next || part.isEqualNode(next)) continue;
      if (inUse(part)) retryMs = POLL_MS;
      else replace(part, document.importNode(next, true));
    }
    const after = news(document);
    if (after && after !== before) {
      document.getElementById("announce").textContent = after;
      document.title = fresh.title;
    }
  }

  async function refresh() {
    again = busy;
    if (busy) return;
    busy = true;
    retryMs = 0;
    const told = wanted;
    try {
      const signal = AbortSignal.timeout?.(PATIENCE_MS); // a line may be dead without anybody knowing
      const answer = await fetch(location.href, { cache: "no-cache", headers: { Accept: "text/html" }, signal });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"), told);
    } catch {
      retryMs = POLL_MS; // offline for a moment: the next tick tries again
    }
    busy = false;
    if (again && wanted > known()) return refresh(); // something happened after that page was made
    if (retryMs) setTimeout(() => document.hidden || refresh(), retryMs);
  }

  // A page that was made after the change shows it already. Where many look on, each is told how long to wait, so that
  // not all ask in the same moment.
  function changed(event) {
    wanted = Math.max(wanted, Number(event.data));
    const waitMs = spreadMs;
    spreadMs = 0;
    const due = () => wanted > known() && refresh();
    if (waitMs) setTimeout(() => document.hidden || due(), waitMs);
    else due();
  }

  function poll(on) {
    if (on && !timer) timer = setInterval(refresh, POLL_MS);
    if (!on && timer) timer = clearInterval(timer) ?? null;
  }

  function lookAgainIn(ms) {
    clearTimeout(watch);
    watch = setTimeout(check, ms);
  }

  // A stream may die without being closed, as when a phone sleeps: then its beats stay away.
  function heard() {
    lookAgainIn(2 * beatMs);
    if (timer) refresh(); // the stream is back: what happened meanwhile?
    poll(false);
  }

  function check() {
    close();
    poll(true);
    refresh();
    open();
  }

  function open() {
    if (source || !stream) return;
    if (!window.EventSource) return poll(true);
    // What happened since this page was made is told at once.
    source = new EventSource(`${stream}?since=${document.body.dataset.changes}`);
    lookAgainIn(2 * beatMs);
    source.addEventListener("beat", (event) => {
      beatMs = Number(event.data) || beatMs;
      heard();
    });
    source.addEventListener("spread", (event) => (spreadMs = Number(event.data)));
    source.addEventListener("changed", (event) => {
      heard();
      changed(event);
    });
    source.addEventListener("error", () => {
      poll(true);
      if (source?.readyState !== EventSource.CLOSED) return;
      source = null; // refused: there may be a place after a while
      lookAgainIn(REFUSED_MS);
    });
  }

  function close() {
    source?.close();
    source = null;
    clearTimeout(watch);
    poll(false);
  }

  function wake() {
    close();
    open();
    refresh();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : wake()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  window.addEventListener("online", () => document.hidden || wake());
  if (!document.hidden) open();
})();
