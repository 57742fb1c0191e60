// Copy buttons: each copies its data-copy and says so. They are only shown where this script runs.
"use strict";
(() => {
  const SHOWN_MS = 2000;
  document.documentElement.classList.add("js");

  function copyBySelection(text) {
    const buffer = document.createElement("textarea");
    buffer.className = "copy-buffer";
    buffer.value = text;
    buffer.readOnly = true;
    document.body.append(buffer);
    buffer.select();
    const done = document.execCommand("copy");
    buffer.remove();
    return done;
  }

  async function copy(text) {
    if (!navigator.clipboard) return copyBySelection(text);
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text);
    }
  }

  function confirm(button, done) {
    button.dataset.label ||= button.textContent;
    const words = done ? document.body.dataset.copied : document.body.dataset.byHand;
    button.textContent = words;
    button.classList.toggle("copied", done);
    document.getElementById("announce").textContent = words;
    setTimeout(() => {
      button.textContent = button.dataset.label;
      button.classList.remove("copied");
    }, SHOWN_MS);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const done = await copy(button.dataset.copy);
    button.focus();
    confirm(button, done);
  });
})();
