// The connectivity test's own part: it chooses among the outcomes that the server wrote into the page,
// and reports the chosen words. Without it the page says what to look at instead.
"use strict";
(() => {
  const outcomes = {};
  let clockSeconds = null;

  function settle(name, word) {
    const row = document.querySelector(`[data-check="${name}"]`);
    for (const each of row.querySelectorAll("[data-outcome]")) {
      each.hidden = each.dataset.outcome !== word;
    }
    outcomes[name] = word;
  }

  // As words.py spells it for the page of a record.
  function duration(seconds, names) {
    let rest = Math.abs(seconds);
    const parts = [86400, 3600, 60, 1].map((length, place) => {
      const count = Math.floor(rest / length);
      rest -= count * length;
      return { count, text: `${count}${names[place]}` };
    });
    const found = parts.findIndex((part) => part.count);
    const first = found < 0 ? parts.length - 1 : found;
    const told = parts.slice(first, first + 2).filter((part) => part.count);
    return (told.length ? told : parts.slice(first)).map((part) => part.text).join("").trim();
  }

  async function clock() {
    const before = Date.now();
    const answer = await fetch("/status.json", { cache: "no-store" });
    const after = Date.now();
    const server = (await answer.json()).now_at;
    // The server tells whole seconds: half of one is the fair guess.
    clockSeconds = Math.round((before + after) / 2000 - (server + 0.5));
    settle("clock", Math.abs(clockSeconds) <= 120 ? "good" : clockSeconds > 0 ? "ahead" : "behind");
    for (const each of document.querySelectorAll('[data-clock="seconds"]')) {
      each.textContent = duration(clockSeconds, each.dataset.units.split("|"));
    }
    for (const each of document.querySelectorAll('[data-clock="difference"]')) {
      each.hidden = false;
    }
  }

  async function reach(name) {
    const link = document.querySelector(`[data-check="${name}"] a.host`);
    try {
      await fetch(new URL(`favicon.ico?${Date.now()}`, link.href), {
        mode: "no-cors", credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(10000),
      });
      settle(name, "reached");
    } catch {
      settle(name, "blocked");
    }
  }

  // A click entitles a page to one window: the second is what a blocker stops.
  function popups() {
    const opened = [1, 2].map((n) => window.open("/popup", `popup${n}`, "width=420,height=320"));
    settle("popups", opened.every((each) => each && !each.closed) ? "allowed" : "blocked");
    for (const each of opened) {
      if (each) each.close();
    }
    report();
  }

  async function report() {
    const shown = document.getElementById("reference");
    const body = { reference: shown.textContent.trim(), outcomes };
    if (clockSeconds !== null) body.clock_seconds = clockSeconds;
    const answer = await fetch("/report", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (!answer.ok) return;
    const reference = (await answer.json()).reference;
    if (reference !== body.reference) shown.textContent = reference;
  }

  settle("javascript", "on");
  const button = document.getElementById("try-popup");
  button.hidden = false;
  button.addEventListener("click", popups);
  Promise.allSettled([clock(), reach("reach-pickup"), reach("reach-help")]).then(report);
})();
