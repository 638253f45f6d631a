// Buttons that copy what an element shows (data-copy names it), or print the page (data-print). Where a browser lets no page copy, the text is
// selected, and the page says which keys to press.
"use strict";
(() => {
  function tell(name) {
    for (const each of document.querySelectorAll("#copied [data-told]")) each.hidden = each.dataset.told !== name;
  }

  function select(source) {
    if (source instanceof HTMLInputElement) {
      source.type = "text";
      source.select();
    } else {
      getSelection().selectAllChildren(source);
    }
  }

  async function copy(source) {
    // Emptied first: a reader announces the second time, too.
    tell("");
    try {
      await navigator.clipboard.writeText(source.value ?? source.innerText);
      tell("copied");
    } catch {
      select(source);
      tell("not-copied");
    }
  }

  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!("waits" in button.dataset)) button.hidden = false;
    button.addEventListener("click", () => copy(document.getElementById(button.dataset.copy)));
  }
})();
