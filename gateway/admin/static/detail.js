// One point: everything about it, and its override.

import { act, askForToken, isUnlocked, open } from "./actions.js";
import { byId, element, facts, pill } from "./dom.js";
import { ago, registerText, span, timeText, valueText } from "./format.js";
import { plot } from "./plots.js";
import { isMade, loadRecent, nowMs, state, when } from "./state.js";

let opened = null; // {name, number, live}: the point whose dialog is open

export function begin() {
  when("values", (changed) => opened && changed.includes(opened.number) && showLive());
  when("status", () => opened && showLive());
  when("connection", () => opened && showLive());
  when("points", () => opened && followPoint());
  byId("dialog").addEventListener("close", () => {
    opened = null;
  });
}

export async function openPoint(number) {
  const point = state.points[number];
  const live = element("div", { className: "card" });
  opened = { name: point.name, number, live };
  open([
    element("div", { className: "head" }, element("h2", { id: "dialog-title" }, point.name), closeButton()),
    element("p", { className: "soft" }, point.description ?? ""),
    live,
    element("div", { className: "card" }, facts([
      ["Asset", [point.asset_name, point.asset].filter(Boolean).join(" · ")],
      ["Place", point.location],
      ["Site", point.site],
      ["From", element("code", {}, point.from)],
      ["Unit", point.unit],
      ["Stale after", point.stale_after_s === null ? "never" : span(point.stale_after_s)],
      ...point.topics.map((place) => [place.sink, element("code", {}, place.topic)]),
      ...point.registers.map((register) => [register.sink, placeText(register)]),
    ])),
    forceForm(point),
  ]);
  showLive();
  await loadRecent([point.name]).catch(() => {});
  showLive();
}

// Other tables are in force, or the gateway was away: the point may have another number, or none.
async function followPoint() {
  opened.number = state.points.findIndex((point) => point.name === opened.name);
  showLive();
  await loadRecent([opened.name]).catch(() => {});
  showLive();
}

const closeButton = () => element("button", { type: "button", className: "quiet", onclick: () => byId("dialog").close() }, "Close");

function placeText(register) {
  const order = register.order && /32|64/.test(register.type) ? `, ${register.order}` : "";
  const scale = register.scale === 1 ? "" : `, scale ${register.scale}`;
  return `unit ${register.unit}, ${registerText(register)} (${register.modicon})${order}${scale}`;
}

function showLive() {
  if (opened === null) return;
  const point = state.points[opened.number];
  if (point === undefined) {
    opened.live.replaceChildren(element("p", { className: "nothing" }, "The point tables have no such point any more."));
    return;
  }
  const shown = state.shown[opened.number];
  const forced = state.status?.mapping.forced[point.name];
  if (!shown) {
    opened.live.replaceChildren(element("div", { className: "head" }, element("h3", {}, "Now"), pill("waiting")), element("p", { className: "nothing" }, "No reading has come yet."));
    return;
  }
  const numbers = state.recent.get(point.name) ?? [];
  const unit = point.unit ? ` ${point.unit}` : "";
  const isOld = !state.isConnected;
  opened.live.replaceChildren(
    element("div", { className: "head" }, element("h3", {}, isOld ? "Last seen" : "Now"), isOld ? pill("old", "bad") : pill(shown.quality)),
    isOld ? element("p", { className: "error" }, `${state.reason ?? "The gateway does not answer"}: what is shown here is old.`) : "",
    facts([
      ["Value", `${valueText(shown.value)}${unit}`],
      ["Measured", `${timeText(shown.timeMs)} (${ago(shown.timeMs, nowMs())})`],
      ["Event", shown.event && element("code", {}, shown.event)],
      ["Forced until", forced && timeText(forced.until_ms)],
    ]),
    numbers.length >= 4
      ? plot(numbers, { describe: (value) => `${valueText(value)}${unit}`, from: timeText(numbers[0] * 1000), to: timeText(numbers.at(-2) * 1000), label: point.name })
      : "",
  );
}

function forceForm(point) {
  if (isMade(point)) return "";
  const said = element("p", { className: "said", role: "status" });
  const value = element("input", { autocomplete: "off", required: true });
  const minutes = element("select", {}, ...[["10 minutes", 600], ["1 hour", 3600], ["8 hours", 28800]].map(([text, seconds]) => element("option", { value: String(seconds) }, text)));
  const attempt = async (path, document, onDone) => {
    if (!isUnlocked()) {
      askForToken();
      return;
    }
    try {
      onDone(await act(path, document));
      said.className = "said";
    } catch (error) {
      said.textContent = error.message;
      said.className = "said error";
    }
  };
  const submit = (event) => {
    event.preventDefault();
    attempt("/force", { point: point.name, value: parseValue(value.value), for_s: Number(minutes.value) }, (answer) => {
      said.textContent = `Forced to ${valueText(answer.value)} until ${timeText(answer.until_ms)}.`;
    });
  };
  const release = () => attempt("/release", { point: point.name }, () => {
    said.textContent = "Released: what is measured is shown again.";
  });
  return element(
    "div",
    {},
    element(
      "form",
      { onsubmit: submit },
      element("label", {}, "Force to", value),
      element("label", {}, "for", minutes),
      element("button", { type: "submit", className: "danger" }, "Force"),
      element("button", { type: "button", className: "quiet", onclick: release }, "Release"),
    ),
    said,
  );
}

// The typed text as a value: a number, true or false, or text.
function parseValue(text) {
  const trimmed = text.trim();
  if (trimmed === "true" || trimmed === "false") return trimmed === "true";
  const number = Number(trimmed.replace(",", "."));
  return trimmed !== "" && Number.isFinite(number) ? number : trimmed;
}
