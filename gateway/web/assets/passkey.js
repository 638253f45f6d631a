// Forms that ask for a passkey: has the browser make or use one as data-options says, and sends what came of it.
// A button of its own (the demo's stand-in) is sent as it is.
"use strict";
(() => {
  const bytes = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replaceAll("+", "-")
      .replaceAll("/", "_")
      .replaceAll("=", "");

  function meant(told) {
    const options = { ...told, challenge: bytes(told.challenge) };
    if (told.user) options.user = { ...told.user, id: bytes(told.user.id) };
    for (const list of ["allowCredentials", "excludeCredentials"]) {
      if (told[list]) options[list] = told[list].map((each) => ({ ...each, id: bytes(each.id) }));
    }
    return options;
  }

  function told(credential) {
    const { response } = credential;
    const said = { clientDataJSON: text(response.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[name]) said[name] = text(response[name]);
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response: said });
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const say = (name) => {
      for (const each of form.querySelectorAll("[data-said]")) each.hidden = each.dataset.said !== name;
    };
    form.addEventListener("submit", async (event) => {
      if (event.submitter?.name === "stand_in") return;
      event.preventDefault();
      if (!window.PublicKeyCredential) return say("none");
      say("");
      try {
        const publicKey = meant(JSON.parse(form.dataset.options));
        const credential = await navigator.credentials[form.dataset.passkey]({ publicKey });
        form.elements.answer.value = told(credential);
      } catch {
        return say("failed");
      }
      form.submit();
    });
  }
})();
