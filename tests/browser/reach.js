// What can be pressed or typed into, and is not within the window's width, or has to be scrolled to sideways;
// with letters of another size, where one is given.
(size) => {
  document.documentElement.style.fontSize = size;
  const inside = (rect, box) => rect.left >= box.left - 0.5 && rect.right <= box.right + 0.5;
  const page = { left: 0, right: document.documentElement.clientWidth };
  const boxes = (element) => {
    const found = [page];
    for (let each = element.parentElement; each; each = each.parentElement)
      if (getComputedStyle(each).overflowX !== "visible") found.push(each.getBoundingClientRect());
    return found;
  };
  const faults = [];
  const controls = "a[href], button, input:not([type=hidden]), select, textarea, summary";
  for (const each of document.querySelectorAll(controls)) {
    if (!each.checkVisibility({ visibilityProperty: true }) || each.closest(".skip")) continue;
    const around = boxes(each);
    for (const rect of each.getClientRects())
      if (rect.width && !around.every((box) => inside(rect, box)))
        faults.push(`out of sight: ${each.id || each.textContent.trim()} ends at ${Math.round(rect.right)}`);
  }
  document.documentElement.style.fontSize = "";
  return faults;
}
