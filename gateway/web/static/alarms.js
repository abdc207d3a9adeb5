// What needs a person.

import { byId, element } from "./dom.js";
import { ago, timeText } from "./format.js";
import { nowMs, state, when } from "./state.js";

export function begin() {
  when("status", () => {
    const count = state.status.alarms.length;
    byId("alarm-count").textContent = count ? String(count) : "";
    if (!byId("view-alarms").hidden) show();
  });
}

export function show() {
  const alarms = state.status?.alarms ?? [];
  byId("view-alarms").replaceChildren(
    ...(alarms.length ? alarms.map(card) : [element("article", { className: "card" }, element("p", { className: "nothing" }, "No alarm holds."))]),
  );
}

function card(alarm) {
  return element(
    "article",
    { className: "card" },
    element("div", { className: "head" }, element("h2", { className: "error" }, alarm.name), element("span", { className: "soft" }, `since ${timeText(alarm.since_ms)}, ${ago(alarm.since_ms, nowMs())}`)),
    element("p", {}, alarm.reason),
  );
}
