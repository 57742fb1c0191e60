// Keeps what is typed a moment after it was typed, says so, and shows how the campaign will look.
"use strict";
(() => {
  const PAUSE_MS = 900;
  const form = document.querySelector("form[data-autosave=yes]");
  if (!form) return;
  const saved = document.getElementById("saved");
  const preview = document.getElementById("preview");
  let timer = 0;
  let latest = 0;

  async function save() {
    const mine = ++latest;
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { "X-Autosave": "1" },
        redirect: "error",
      });
      if (!answer.ok) throw new Error(answer.statusText);
      const told = await answer.json();
      if (mine !== latest) return; // something newer is on its way
      const sentences = Object.values(told.problems);
      saved.textContent = sentences.length ? "Saved, except: " + sentences.join(" ") : "Saved.";
      preview.innerHTML = told.preview;
    } catch {
      if (mine === latest) saved.textContent = "Not saved yet; the button below saves it.";
    }
  }

  form.addEventListener("input", () => {
    saved.textContent = "…";
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE_MS);
  });
  form.addEventListener("submit", () => {
    clearTimeout(timer);
    latest++;
  });
})();
