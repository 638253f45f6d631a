// A browser stays on the page when it saves a file: asks whether the file was sent, and says so. Without this
// script a link loads the page once more.
"use strict";
(() => {
  const notice = document.getElementById("downloaded");
  if (!notice || !notice.hidden) return;
  const ask = async (times) => {
    try {
      const answer = await fetch(notice.dataset.status, { cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) return;
      if ((await answer.json()).downloaded) {
        notice.hidden = false;
        for (const each of document.querySelectorAll("[data-when]")) each.hidden = each.dataset.when === "before";
        document.getElementById("downloaded-heading").focus();
        return;
      }
    } catch {
      // The network may come back.
    }
    if (times > 1 && notice.hidden) setTimeout(ask, 500, times - 1);
  };
  for (const form of document.querySelectorAll("form[data-download]"))
    form.addEventListener("submit", () => setTimeout(ask, 200, 120));
})();
