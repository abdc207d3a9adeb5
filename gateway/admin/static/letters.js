// Dead letters: what could not be delivered, why, and retries.

import { act, askForToken, confirm, isUnlocked } from "./actions.js";
import { byId, element, table, whole } from "./dom.js";
import { eventLink } from "./event.js";
import { counted, timeText } from "./format.js";
import { ask, state, when } from "./state.js";

const chosen = new Set();
let listed = null; // how many there were when the list was requested
let drawn = null; // the list is drawn again only when it changes, or a click would be lost
let said = null;

export function begin() {
  when("status", () => {
    const count = state.status.journal.dead_letters;
    byId("letter-count").textContent = count ? count.toLocaleString() : "";
    if (!byId("view-letters").hidden && count !== listed) show();
  });
}

export async function show() {
  listed = state.status?.journal.dead_letters ?? null;
  let found;
  try {
    found = await ask("/api/deadletters");
  } catch (error) {
    drawn = null;
    byId("view-letters").replaceChildren(element("p", { className: "error" }, error.message));
    return;
  }
  const answered = JSON.stringify(found);
  if (answered === drawn) return;
  drawn = answered;
  const numbers = new Set(found.letters.map((letter) => letter.number));
  for (const number of chosen) if (!numbers.has(number)) chosen.delete(number);
  said ??= element("p", { className: "said", role: "status" });
  const more = found.total > found.letters.length ? ` The newest ${found.letters.length.toLocaleString()} are shown.` : "";
  byId("view-letters").replaceChildren(
    element(
      "article",
      { className: "card" },
      element("div", { className: "head" }, element("h2", {}, counted(found.total, "dead letter")), buttons(found.letters)),
      element("p", { className: "soft" }, `A receiver refused these values for good, or an event could not be read. Remove the cause, then deliver again.${more}`),
      said,
      table(["Selected", "At", "Sink", "Point", "Reason", "Event"], found.letters.map(row), "Nothing was refused."),
    ),
  );
}

function row(letter) {
  const box = element("input", { type: "checkbox", checked: chosen.has(letter.number), "aria-label": `Letter ${letter.number}`, onchange: () => (box.checked ? chosen.add(letter.number) : chosen.delete(letter.number)) });
  return [box, whole(timeText(letter.at_ms)), letter.sink || "mapping", letter.point || "–", letter.reason, letter.event ? eventLink(letter.event) : "–"];
}

function buttons(letters) {
  if (letters.length === 0) return "";
  const all = () => {
    const isAll = chosen.size === letters.length;
    letters.forEach((letter) => (isAll ? chosen.delete(letter.number) : chosen.add(letter.number)));
    drawn = null;
    show();
  };
  return element(
    "span",
    {},
    element("button", { type: "button", className: "quiet", onclick: all }, "All or none"),
    " ",
    element("button", { type: "button", onclick: () => askFor("retry") }, "Deliver again"),
    " ",
    element("button", { type: "button", className: "danger", onclick: () => askFor("drop") }, "Forget"),
  );
}

function askFor(what) {
  if (!isUnlocked()) {
    askForToken();
    return;
  }
  if (chosen.size === 0) {
    said.textContent = "Choose some first.";
    return;
  }
  if (what === "retry") {
    send(what);
    return;
  }
  confirm(`Forget ${counted(chosen.size, "dead letter")}?`, "What they hold is delivered nowhere, and cannot be had back.", "Forget for good", () => send(what));
}

async function send(what) {
  try {
    const answer = await act(`/deadletters/${what}`, { numbers: [...chosen].slice(0, 1000) });
    said.className = "said";
    said.textContent = what === "drop" ? `${answer.dropped.length} forgotten.` : [`${answer.handed_out.length} queued again.`, ...answer.left.slice(0, 3).map((one) => `${one.number}: ${one.reason}`)].join(" ");
  } catch (error) {
    said.className = "said error";
    said.textContent = error.message;
  }
  await show();
}
