// Live pages: when the stream says that something changed, fetch this page again and swap its named parts.
// The page is complete without this script. It never touches a part in which somebody is typing or choosing.
"use strict";
(() => {
  const POLL_MS = 5000;
  const stream = document.body.dataset.live.trim();
  let source = null;
  let timer = null;
  let busy = false;
  let again = false;
  let wanted = 0;
  let retryMs = 0;

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

  function swap(fresh) {
    const before = news(document);
    const newParts = parts(fresh);
    document.body.dataset.changes = fresh.body.dataset.changes;
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
    try {
      const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      retryMs = POLL_MS; // offline for a moment: the next tick tries again
    }
    busy = false;
    if (again && wanted > known()) return refresh(); // something happened after that page was made
    if (retryMs) setTimeout(() => document.hidden || refresh(), retryMs);
  }

  function changed(event) {
    wanted = Math.max(wanted, Number(event.data));
    if (wanted > known()) refresh(); // a page that was made after the change shows it already
  }

  function poll(on) {
    if (on && !timer) timer = setInterval(refresh, POLL_MS);
    if (!on && timer) timer = clearInterval(timer) ?? null;
  }

  function open() {
    if (source || !stream) return;
    if (!window.EventSource) return poll(true);
    // What happened since this page was made is told at once.
    source = new EventSource(`${stream}?since=${document.body.dataset.changes}`);
    source.addEventListener("open", () => {
      if (timer) refresh(); // the stream is back: what happened meanwhile?
      poll(false);
    });
    source.addEventListener("changed", changed);
    source.addEventListener("error", () => {
      poll(true);
      if (source?.readyState === EventSource.CLOSED) source = null; // refused: the next visit tries again
    });
  }

  function close() {
    source?.close();
    source = null;
    poll(false);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    open();
    refresh();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && (open(), refresh()));
  if (!document.hidden) open();
})();
