// What changes something: behind the admin token, which stays in this tab.

import { byId, element } from "./dom.js";
import { ask } from "./state.js";

const KEY = "gateway-admin-token";
const listeners = [];

export const isUnlocked = () => sessionStorage.getItem(KEY) !== null;

export function whenUnlocked(listener) {
  listeners.push(listener);
}

export async function act(path, document) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}` };
  const body = document === undefined ? undefined : JSON.stringify(document);
  return ask(`/api/actions${path}`, { method: body === undefined ? "GET" : "POST", headers, body });
}

function lock() {
  sessionStorage.removeItem(KEY);
  show();
}

function show() {
  byId("unlock").textContent = isUnlocked() ? "Lock" : "Unlock";
  for (const listener of listeners) listener();
}

export function open(dialogContent) {
  const dialog = byId("dialog");
  dialog.replaceChildren(...dialogContent);
  if (!dialog.open) dialog.showModal();
  return dialog;
}

export function askForToken() {
  const said = element("p", { className: "said", role: "status" });
  const input = element("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = element(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        sessionStorage.setItem(KEY, input.value.trim());
        try {
          await act("/token");
          byId("dialog").close();
        } catch (error) {
          sessionStorage.removeItem(KEY);
          said.textContent = error.message;
          said.className = "said error";
        }
        show();
      },
    },
    element("label", {}, "Admin token", input),
    element("button", { type: "submit" }, "Unlock"),
    element("button", { type: "button", className: "quiet", onclick: () => byId("dialog").close() }, "Cancel"),
  );
  open([
    element("h2", { id: "dialog-title" }, "Unlock actions"),
    element("p", { className: "soft" }, "Forcing points and handling dead letters needs the token of admin.token in gateway.yaml. It is kept until this tab is closed."),
    form,
    said,
  ]);
}

export function begin() {
  byId("unlock").addEventListener("click", () => (isUnlocked() ? lock() : askForToken()));
  byId("dialog").addEventListener("click", (event) => {
    if (event.target === byId("dialog")) byId("dialog").close();
  });
  show();
}
