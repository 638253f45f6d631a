// The key "/" leads to the search box, unless somebody types, or has turned it off on the page of their own account
// (WCAG 2.2, 2.1.4). The menu is closed on a phone until somebody opens it; without a script it stands open.
"use strict";
(() => {
  const fold = document.querySelector(".head .fold");
  const narrow = matchMedia("(max-width: 40rem)");
  const folded = () => fold && (fold.open = !narrow.matches);
  folded();
  narrow.addEventListener("change", folded);
  const kept = "sekisho.slash";
  const find = document.getElementById("find");
  const choice = document.getElementById("slash");
  const on = () => {
    try {
      return localStorage.getItem(kept) !== "off";
    } catch {
      return true;
    }
  };
  if (choice) {
    choice.closest("[data-slash]").hidden = false;
    choice.checked = on();
    choice.addEventListener("change", () => {
      try {
        localStorage.setItem(kept, choice.checked ? "on" : "off");
      } catch {
        choice.checked = true;
      }
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (!find || typing || event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || !on()) return;
    event.preventDefault();
    find.focus();
    find.select();
  });
})();
