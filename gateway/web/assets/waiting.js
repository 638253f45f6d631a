// Moves しばらくお待ちください on as soon as the certificate is there; where no script runs
// the page reloads itself every three seconds.
"use strict";
(() => {
  const line = document.querySelector("[data-status]");
  if (!line) return;
  const { status, next } = line.dataset;
  const ask = async () => {
    try {
      const answer = await fetch(status, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(15000) });
      // An error has a page of its own, which the next request shows.
      if (!answer.ok || (await answer.json()).status !== "processing") {
        location.replace(next);
        return;
      }
    } catch {
      // The network may come back.
    }
    setTimeout(ask, 1000);
  };
  setTimeout(ask, 1500);
})();
