// One event: its body as received, and its way as `gateway explain` prints it.

import { open } from "./actions.js";
import { addressOf, read } from "./address.js";
import { closeButton, element, facts } from "./dom.js";
import { timeText } from "./format.js";
import { ask } from "./state.js";

// A link to an event, on the tab and above the point that are open.
export function eventLink(id) {
  const { tab, query } = read();
  query.set("event", id);
  return element("a", { href: addressOf(tab, query) }, element("code", {}, id));
}

export async function showEvent(id) {
  const head = element("div", { className: "head" }, element("h2", { id: "dialog-title" }, "Event ", element("code", {}, id)), closeButton());
  open([head, element("p", { className: "nothing" }, "looking it up …")]);
  let content;
  try {
    const found = await ask(`/api/events/${encodeURIComponent(id)}`);
    content = [
      facts([["Type", found.type], ["Received", timeText(found.received_ms)]]),
      element("h3", {}, "Body as received"), element("pre", { tabIndex: 0 }, found.body),
      element("h3", {}, "Its way, by the tables in force"), element("pre", { className: "way", tabIndex: 0 }, found.way),
    ];
  } catch (error) {
    content = [element("p", { className: "error" }, error.message)];
  }
  if (head.isConnected) open([head, ...content]);
}
