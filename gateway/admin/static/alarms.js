// Alarms that hold, and past ones.

import { act, askForToken, isUnlocked } from "./actions.js";
import { byId, card, element, table, whole } from "./dom.js";
import { timeText } from "./format.js";
import { ask, state, when } from "./state.js";

let drawn = null; // what the tab shows: it is drawn again only when that changes, or a button would lose the keyboard's focus

// All that is wrong now, for the banner and for this tab. A receiver that has just gone is no alarm yet.
export function troubles(status) {
  const alarms = new Set(status.alarms.map((alarm) => alarm.name));
  const sinks = Object.entries(status.sinks).filter(([name, sink]) => !sink.connected && !alarms.has(`sink-away:${name}`));
  if (status.source && !status.source.connected && !alarms.has("source-away")) sinks.unshift(["source", status.source]);
  return [
    ...(status.journal.state === "ok" || alarms.has("journal-unavailable") ? [] : [{ name: "journal", reason: status.journal.state }]),
    ...sinks.map(([name, sink]) => ({ name, reason: `it is ${sink.state}${sink.last_error ? `: ${sink.last_error}` : ""}` })),
    ...status.alarms,
  ];
}

export function begin() {
  when("status", () => {
    const count = troubles(state.status).length;
    byId("alarm-count").textContent = count ? String(count) : "";
    if (!byId("view-alarms").hidden) draw();
  });
}

export function show() {
  drawn = null;
  if (state.status) draw();
}

async function draw() {
  const now = troubles(state.status);
  const wanted = JSON.stringify(now);
  if (wanted === drawn) return;
  drawn = wanted;
  const { past } = await ask("/api/alarms").catch(() => ({ past: [] })); // the page says already that the gateway is away
  if (wanted !== drawn) return;
  byId("view-alarms").replaceChildren(
    ...(now.length ? now.map(troubleCard) : [element("article", { className: "card" }, element("p", { className: "nothing" }, "No alarm holds."))]),
    card("Past alarms", table(["Alarm", "Since", "Until", "Acknowledged", "Reason"], past.map(row), "No past alarms.")),
  );
}

function troubleCard(trouble) {
  const said = element("p", { className: "said", role: "status" });
  const isAlarm = "since_ms" in trouble;
  return element(
    "article",
    { className: "card" },
    element("div", { className: "head" }, element("h2", { className: "error" }, trouble.name), isAlarm ? element("span", { className: "soft" }, `since ${timeText(trouble.since_ms)}`) : ""),
    element("p", {}, trouble.reason),
    trouble.acknowledged_ms ? element("p", { className: "soft" }, `Acknowledged ${acknowledgedText(trouble)}.`) : "",
    isAlarm && !trouble.acknowledged_ms ? element("p", {}, element("button", { type: "button", className: "quiet", onclick: () => acknowledge(trouble.name, said) }, "Acknowledge"), trouble.latched ? " It holds until then." : "") : "",
    said,
  );
}

const acknowledgedText = (alarm) => `${timeText(alarm.acknowledged_ms)} by ${alarm.acknowledged_by}`;
const row = (alarm) => [...[alarm.name, timeText(alarm.since_ms), timeText(alarm.cleared_ms), alarm.acknowledged_ms ? acknowledgedText(alarm) : "–"].map(whole), alarm.reason];

async function acknowledge(name, said) {
  if (!isUnlocked()) {
    askForToken();
    return;
  }
  try {
    await act("/alarms/acknowledge", { name });
    byId("content").focus(); // the button goes
  } catch (error) {
    said.className = "said error";
    said.textContent = error.message;
  }
}
