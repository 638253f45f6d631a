// What axe-core finds on the page as it stands that it was not asked about before, and what has been judged
// with it; null where it is wanted and not there.
//
// asked: of "structure" (every rule but those of colours), "sizes" and "colours" those that are wanted;
// judged: the structures and the combinations of colours that were judged, on whichever page.
async ([asked, judged]) => {
  const known = new Set(judged), now = [];
  const ofColours = ["color-contrast", "link-in-text-block"], ofSizes = ["scrollable-region-focusable", "target-size"];
  const all = [...document.querySelectorAll("body, body *")].filter((each) => !each.matches("script, br, wbr"));
  const says = (each) => [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());

  // Two pages of the same elements, names and attributes are the same to it, whatever their words are.
  const decide = /^(role|type|id|for|name|scope|headers|tabindex|autocomplete|hidden|open|disabled|aria-(?!label$|description$).*)$/;
  const structure = () => {
    const parts = all.map((each) => {
      const own = [...each.attributes].map(({ name, value }) => [name, decide.test(name) ? value : !!value.trim()]);
      return [each.localName, each.parentElement.localName, each.checkVisibility(), says(each), ...own.flat()].join();
    });
    let [one, other] = [7, 11];
    for (const letter of [...parts.join(";"), !!document.title].map((each) => `${each}`.codePointAt(0))) {
      one = (one * 31 + letter) % 4_294_967_291;
      other = (other * 37 + letter) % 4_294_967_279;
    }
    return `structure ${one} ${other}`;
  };

  // A page's colours cost it a second, and nearly all of them are those of the page before: three elements of
  // each combination are enough.
  const inNewColours = () => {
    const groups = new Map();
    for (const each of all) {
      if (!(says(each) || each.matches("input, select, textarea, button")) || !each.checkVisibility()) continue;
      const { color, fontSize, fontWeight, textShadow, textDecorationLine } = getComputedStyle(each);
      const around = each.matches("a[href]") && getComputedStyle(each.parentElement).color;
      const key = [each.disabled, color, around, fontSize, fontWeight, textShadow, textDecorationLine];
      for (let below = each; below; below = below.parentElement) {
        const { backgroundColor, backgroundImage, opacity } = getComputedStyle(below);
        if (!backgroundColor.endsWith(", 0)") || backgroundImage !== "none" || opacity !== "1")
          key.push(backgroundColor, backgroundImage, opacity);
      }
      const name = `colours ${key.join(";")}`;
      if (!known.has(name)) groups.set(name, [...(groups.get(name) ?? []), each]);
    }
    now.push(...groups.keys());
    return [...groups.values()].flatMap((some) => [some[0], some[some.length >> 1], some.at(-1)]);
  };

  const runs = [];
  if (asked.includes("structure")) {
    const name = structure();
    const rules = Object.fromEntries(ofColours.map((rule) => [rule, { enabled: false }]));
    if (!known.has(name)) runs.push([document, { rules }]);
    now.push(name);
  }
  if (asked.includes("sizes")) runs.push([document, { runOnly: { type: "rule", values: ofSizes } }]);
  if (asked.includes("colours")) {
    const some = inNewColours();
    if (some.length) runs.push([{ include: [...new Set(some)] }, { runOnly: { type: "rule", values: ofColours } }]);
  }
  if (runs.length && !("axe" in window)) return null;
  const found = [];
  for (const [where, how] of runs) {
    const got = await axe.run(where, { resultTypes: ["violations"], preload: { assets: ["media"] }, ...how });
    found.push(...got.violations.map(({ id, nodes }) => `axe ${id}: ${nodes.map((node) => node.target).join(" ")}`));
  }
  return { found, judged: now };
}
