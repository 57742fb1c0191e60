// Passkeys: a form with data-passkey asks the site what to ask the browser for, and is sent with the browser's answer.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const named = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  function say(form, sentence) {
    const place = form.querySelector("[data-said]");
    place.textContent = sentence;
    place.hidden = !sentence;
  }

  async function options(form) {
    const body = new URLSearchParams(new FormData(form));
    body.set("purpose", form.dataset.passkey);
    const answer = await fetch(form.dataset.options, { method: "POST", body });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    return found;
  }

  async function made(asked) {
    const user = { ...asked.user, id: bytes(asked.user.id) };
    const excludeCredentials = named(asked.excludeCredentials);
    const publicKey = { ...asked, challenge: bytes(asked.challenge), user, excludeCredentials };
    const key = await navigator.credentials.create({ publicKey });
    const { clientDataJSON, attestationObject } = key.response;
    return packed(key, { clientDataJSON, attestationObject });
  }

  async function shown(asked) {
    const allowCredentials = named(asked.allowCredentials);
    const publicKey = { ...asked, challenge: bytes(asked.challenge), allowCredentials };
    const key = await navigator.credentials.get({ publicKey });
    const { clientDataJSON, authenticatorData, signature, userHandle } = key.response;
    const parts = { clientDataJSON, authenticatorData, signature };
    return packed(key, userHandle ? { ...parts, userHandle } : parts);
  }

  function packed(key, parts) {
    const response = Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, text(value)]));
    return JSON.stringify({ id: key.id, rawId: text(key.rawId), type: key.type, clientExtensionResults: {}, response });
  }

  const OURS = {
    NotAllowedError: "No passkey was used, and nothing has changed. You can try again.",
    InvalidStateError: "This device holds a passkey of this account already.",
    NotSupportedError: "This device cannot make passkeys that know their owner.",
    AbortError: "No passkey was used, and nothing has changed. You can try again.",
  };

  async function use(form) {
    const button = form.querySelector("button");
    say(form, "");
    button.disabled = true;
    try {
      const asked = await options(form);
      form.elements.credential.value = await (asked.user ? made(asked) : shown(asked));
      form.submit();
    } catch (error) {
      say(form, OURS[error.name] || error.message || "Your browser could not use a passkey here.");
      button.disabled = false;
    }
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const able = window.PublicKeyCredential && location.origin === form.dataset.origin;
    if (!able) {
      const elsewhere = location.origin !== form.dataset.origin;
      say(form, elsewhere ? `Passkeys work at ${form.dataset.origin} only.` : "This browser knows no passkeys.");
      form.querySelector("button").disabled = true;
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      use(form);
    });
  }
})();
