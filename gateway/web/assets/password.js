// 証明書の取得: shows the password, draws one, says how strong it is while it is typed, and prints a slip.
// All of it stays in the browser; what may be sent is decided where it arrives. Without this script the
// form is as it was.
"use strict";
(() => {
  const form = document.querySelector("main form");
  const help = document.getElementById("password-help");
  const slip = document.getElementById("slip");
  const [password, confirmation] = ["password", "confirmation"].map((id) => document.getElementById(id));
  const action = (name) => help.querySelector(`[data-do="${name}"]`);
  const longest = Number(help.dataset.long);

  // Of a box of outcomes, those that are named; the others are hidden.
  function tell(box, ...names) {
    const place = document.getElementById(box);
    place.hidden = false;
    for (const each of place.querySelectorAll("[data-told]")) each.hidden = !names.includes(each.dataset.told);
  }

  // -- strength ------------------------------------------------------------------------------------

  // What guessers try first: words in many passwords, rows of keys, years, the same again.
  const WORDS = [
    "password", "passw0rd", "nenkin", "sekisho", "tegata", "sakura", "welcome", "qwertyuiop", "asdfghjkl",
    "zxcvbnm", "1qaz2wsx", "admin", "login", "letmein", "master", "secret", "iloveyou", "monkey", "dragon",
    "baseball", "soccer", "suzuki", "tanaka", "satou", "sato", "tokyo", "japan", "nippon", "cyber", "trust",
    "test", "user", "pass", "abcd", "qwerty", "asdf", "cpbs", "taro", "hanako", "january", "march", "april",
  ];
  const YEAR = /^(?:19|20)\d\d/;
  // Bits of one character that belongs to nothing: people choose among ten, not among sixty-two.
  const EACH = Math.log2(10);

  function runOf(text) {
    const step = text.charCodeAt(1) - text.charCodeAt(0);
    if (!(Math.abs(step) <= 1)) return 0;
    let length = 2;
    while (text.charCodeAt(length) - text.charCodeAt(length - 1) === step) length += 1;
    return length >= 3 ? length : 0;
  }

  // How long a piece at the start of the text is, and its bits.
  function piece(text, before) {
    const lower = text.toLowerCase();
    const run = runOf(lower);
    if (run) return [run, 5 + Math.log2(run)];
    const word = WORDS.find((each) => lower.startsWith(each));
    if (word) return [word.length, 8];
    if (YEAR.test(text)) return [4, 6];
    for (let length = Math.min(before.length, text.length); length >= 3; length -= 1) {
      if (before.includes(lower.slice(0, length))) return [length, 3];
    }
    return [1, EACH];
  }

  function bitsOf(text) {
    let bits = 0;
    for (let at = 0; at < text.length; ) {
      const [length, more] = piece(text.slice(at), text.slice(0, at).toLowerCase());
      bits += more;
      at += length;
    }
    return bits;
  }

  // A file is guessed at without us: 100,000 rounds leave ten graphics cards some 2^20 tries a second,
  // so 35 bits last hours and 50 bits decades.
  function strength(text) {
    const bits = bitsOf(text);
    return bits < 35 ? "weak" : bits < 50 ? "fair" : "strong";
  }

  function judge() {
    const [text, again] = [password.value, confirmation.value];
    const told = [];
    if (/[^A-Za-z0-9]/.test(text)) told.push("characters");
    else if (text) told.push(strength(text));
    if (text.length > longest) told.push("long");
    tell("strength", ...told);
    tell("sameness", ...(again ? [text === again ? "same" : "differs"] : []));
    for (const each of [help.querySelector("[data-copy]"), action("print")]) each.hidden = !text;
  }

  // -- what the buttons do ---------------------------------------------------------------------------

  function show(shown) {
    for (const each of [password, confirmation]) each.type = shown ? "text" : "password";
    action("show").setAttribute("aria-pressed", String(shown));
  }

  function draw(letters, length) {
    // Bytes above the last whole multiple are drawn again, or the first letters would come more often.
    const fair = 256 - (256 % letters.length);
    let drawn = "";
    while (drawn.length < length) {
      const [byte] = crypto.getRandomValues(new Uint8Array(1));
      if (byte < fair) drawn += letters[byte % letters.length];
    }
    return drawn;
  }

  function generate() {
    // One draw in a hundred has a row of letters by chance, and who drew it would be told that it is fair.
    do password.value = draw(help.dataset.letters, Number(help.dataset.length));
    while (strength(password.value) !== "strong");
    confirmation.value = password.value;
    show(true);
    judge();
    tell("password-done", "generated");
  }

  function print() {
    for (const id of ["request_id", "password"]) {
      const row = slip.querySelector(`[data-slip="${id}"]`);
      row.hidden = !document.getElementById(id).value;
      row.querySelector("td").textContent = document.getElementById(id).value;
    }
    slip.hidden = false;
    document.body.classList.add("slip-alone");
    window.print();
  }

  function printed() {
    document.body.classList.remove("slip-alone");
    slip.hidden = true;
    slip.querySelector('[data-slip="password"] td').textContent = "";
  }

  help.hidden = false;
  action("show").addEventListener("click", () => show(password.type === "password"));
  action("generate").addEventListener("click", generate);
  action("print").addEventListener("click", print);
  window.addEventListener("afterprint", printed);
  for (const each of [password, confirmation]) {
    each.addEventListener("input", () => {
      judge();
      tell("password-done");
    });
  }
  // As text a browser would offer it again in other forms.
  form.addEventListener("submit", () => show(false));
  judge();
})();
