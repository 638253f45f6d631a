// What is wrong with the page as it stands, for people who see it small, or hear it, or use no mouse.
(scheme) => {
  const faults = [];
  const dark = getComputedStyle(document.body).backgroundColor.match(/\d+/g).every((part) => part < 128);
  if (scheme && dark !== (scheme === "dark")) faults.push("not in the colours that the system asks for");
  const root = document.scrollingElement;
  if (root.scrollWidth > root.clientWidth) faults.push(`scrolls sideways: ${root.scrollWidth}px`); // WCAG 1.4.10
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.title.trim() || !document.documentElement.lang) faults.push("no title or language");
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`id twice: ${id}`);
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.hidden && !field.labels.length && !field.ariaLabel) faults.push(`no label: ${field.name}`);
  for (const image of document.querySelectorAll("img:not([alt])")) faults.push(`no alt: ${image.src}`);

  // WCAG 3.3.1: what is said of a field is said to whoever is in it, and one of those is where one goes on.
  const marked = [...document.querySelectorAll("[aria-invalid=true]")];
  for (const told of document.querySelectorAll(".error[id]"))
    if (!marked.some((field) => (field.getAttribute("aria-describedby") ?? "").split(" ").includes(told.id)))
      faults.push(`of no field that is marked: ${told.textContent.trim()}`);
  if (marked.length && !marked.includes(document.activeElement)) faults.push("no field at fault has the focus");

  const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".skip");
  // WCAG 2.5.8: 24 by 24 pixels, links within a sentence excepted.
  for (const target of document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")) {
    const { width, height } = target.getBoundingClientRect();
    const inline = getComputedStyle(target).display === "inline";
    if (seen(target) && !inline && (width < 24 || height < 24)) {
      const name = target.id || target.textContent.trim();
      if (!(target.labels && target.labels.length)) faults.push(`small target: ${name} ${width}x${height}`);
    }
  }

  // WCAG 1.4.3: 4.5 to 1, of text on the nearest background that is none of transparent.
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const told = new Set();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !seen(element) || told.has(element)) continue;
    told.add(element);
    // WCAG 1.3.1: whoever jumps from landmark to landmark comes by every text.
    if (!element.closest("header, nav, main, footer, aside")) faults.push(`outside landmarks: ${element.textContent.trim().slice(0, 30)}`);
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(1)}: ${texts.currentNode.textContent.trim().slice(0, 30)}`);
  }

  // Between two sentences of Japanese stands no space.
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const spaced = words.currentNode.data.match(/。\s+[ぁ-んァ-ヶ一-鿿（]/);
    const within = words.currentNode.parentElement;
    // What is preformatted has its own lines: a letter as it is sent.
    if (spaced && seen(within) && !within.closest("pre, textarea")) faults.push(`space within Japanese: ${spaced[0]}`);
  }

  // A language that was chosen goes along to our other hosts, whose cookies are their own.
  if (document.documentElement.lang === "en")
    for (const link of document.querySelectorAll('a[href^="https:"]')) {
      const { href, host, hostname, search } = link; // those within a letter are its own
      if (!link.closest("[lang=ja]") && hostname.endsWith(".localhost") && host !== location.host)
        if (!search.includes("lang=en")) faults.push(`loses the language: ${href}`);
    }

  // English as it is set: “curly” quotation marks, and a space between two sentences.
  if (document.documentElement.lang === "en") {
    const english = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    let before = "", within = null;
    while (english.nextNode()) {
      if (english.currentNode.nodeType === Node.ELEMENT_NODE) {
        if (english.currentNode.localName === "br") before = "";
        continue;
      }
      const { data, parentElement } = english.currentNode;
      if (!seen(parentElement) || parentElement.closest("[lang=ja], pre, script")) continue;
      if (data.includes('"')) faults.push(`straight quotation marks: ${data.trim().slice(0, 60)}`);
      const block = parentElement.closest("p, li, dd, dt, td, th, h1, h2, h3, caption, label, div");
      const joined = ((block === within ? before : "") + data).match(/[a-z)]\.[A-Z][a-z]+ /);
      if (joined) faults.push(`no space between sentences: ${joined[0]}`);
      [before, within] = [data.slice(-2), block];
    }
  }

  const range = document.createRange(); // One for all: a document looks after each that there is.
  const box = (node, at) => {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect();
  };
  // A line with one or two letters left over of a sentence ("くださ／い。").
  for (const block of document.querySelectorAll("p, li, dd, td, th, label, legend, h1, h2, h3, caption, .hint, .error")) {
    if (!seen(block) || block.closest("thead, .unseen")) continue;
    if (block.querySelector("input, button, .button, .dialog, p, ul, ol, br:last-child")) continue;
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    const letters = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (!seen(node.parentElement)) continue;
      for (let at = 0; at < node.length; at++) if (node.data[at].trim()) letters.push([node, at]);
    }
    const top = ([node, at]) => {
      const { bottom, left } = box(node, at);
      return [bottom, left];
    };
    const last = letters.slice(-4);
    const japanese = last.length === 4 && /[\u3041-\u30ff\u4e00-\u9fff]|^[0-9A-F]{4}$/.test(last.map(([node, at]) => node.data[at]).join(""));
    const broken = (one, other) => top(other)[0] > top(one)[0] + 4 && top(other)[1] < top(one)[1];
    if (japanese && (broken(last[2], last[3]) || broken(last[1], last[2])))
      faults.push(`letters left over: ${block.textContent.trim().slice(-30)}`);
  }

  // A line that ends within a word ("クライア／ント", "しな／おして"), unless the page itself allows it there.
  const divided = /[\u30a1-\u30fa\u30fc]\|[\u30a1-\u30fa\u30fc]|^.*\|[ーぁぃぅぇぉっゃゅょァィゥェォッャュョ]|しな\|お|は\|がき|「は\|い」|手\|続き|切り\|替え|取り\|扱|ふた\|たび|な\|お、|手順\d+\|～|:\d\d\|～|[a-z]の\|場合|\|様|[」）]\|[をにがは]|^[\d.()-]+\|/;
  // The letters of a text with which a line begins, and how far down the last one is. Between two letters on
  // one line none does, so that few are asked for where they are.
  const begins = (text, above) => {
    const found = new Set(), letters = [], bottoms = [];
    for (let at = 0; at < text.length; at++) if (text.data[at].trim()) letters.push(at);
    found.bottom = above;
    if (!letters.length) return found;
    const bottom = (nth) => (bottoms[nth] ??= box(text, letters[nth]).bottom);
    const between = (low, high) => {
      if (bottom(high) <= bottom(low) + 6) return;
      const middle = (low + high) >> 1;
      if (middle === low) found.add(letters[high]);
      else [between(low, middle), between(middle, high)];
    };
    if (above !== null && bottom(0) > above + 6) found.add(letters[0]);
    between(0, letters.length - 1);
    found.bottom = bottom(letters.length - 1);
    return found;
  };
  for (const block of document.querySelectorAll("p, li, dd, dt, td, th, h1, h2, h3, caption, label, legend, button, a, .hint, .error")) {
    if (!CSS.supports("word-break", "auto-phrase")) break; // Firefox ends its lines between any two letters.
    if (!seen(block) || block.closest(".unseen, .number") || getComputedStyle(block).display === "inline") continue;
    if (block.querySelector("p, li, ul, ol, table, h2, h3")) continue;
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    let line = "", bottom = null;
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.nodeType === Node.ELEMENT_NODE) {
        if (["WBR", "BR"].includes(node.tagName) || getComputedStyle(node).display !== "inline") line += "\u200b";
        continue;
      }
      if (!seen(node.parentElement)) continue;
      const begun = begins(node, bottom);
      for (let at = 0; at < node.length; at++) {
        if (!node.data[at].trim()) line += "\u200b"; // A space, where a line may end.
        else if (!begun.has(at)) line += node.data[at];
        else {
          if (divided.test(line + "|" + node.data.slice(at, at + 2)))
            faults.push(`word divided: ${line.slice(-10)}|${node.data.slice(at, at + 6)}`);
          line = node.data[at];
        }
      }
      bottom = begun.bottom;
    }
  }
  return faults;
}
