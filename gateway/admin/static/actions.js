// Actions, which need the admin token; it stays in this tab.

import { byId, element } from "./dom.js";
import { ask } from "./state.js";

const KEY = "gateway-admin-token";

export const isUnlocked = () => sessionStorage.getItem(KEY) !== null;

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
}

export function open(content, dialog = byId("dialog")) {
  dialog.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
}

const cancelButton = () => element("button", { type: "button", className: "quiet", onclick: () => byId("question").close() }, "Cancel");

// Ask for confirmation of what can't be undone, above the dialog of a point, which stays open.
export function confirm(title, text, verb, go) {
  const agree = () => {
    byId("question").close();
    go();
  };
  open([
    element("h2", { id: "question-title" }, title),
    element("p", { className: "soft" }, text),
    element("form", { onsubmit: (event) => { event.preventDefault(); agree(); } }, element("button", { type: "submit", className: "danger" }, verb), cancelButton()),
  ], byId("question"));
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
          byId("question").close();
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
    cancelButton(),
  );
  open([
    element("h2", { id: "question-title" }, "Unlock actions"),
    element("p", { className: "soft" }, "What changes something needs the token of admin.token in gateway.yaml. It is kept until this tab is closed."),
    form,
    said,
  ], byId("question"));
}

export function begin() {
  byId("unlock").addEventListener("click", () => (isUnlocked() ? lock() : askForToken()));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  show();
}
