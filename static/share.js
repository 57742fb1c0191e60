// The button that hands the receipt's link to another program. It is shown only where the browser can do that.
"use strict";
(() => {
  if (!navigator.share) return;
  document.documentElement.classList.add("can-share");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-share]");
    if (!button) return;
    try {
      await navigator.share({ title: button.dataset.shareTitle, url: button.dataset.share });
    } catch {
      // Somebody who changes their mind is told nothing; the link stands on the page.
    }
  });
})();
