// One point: everything about it, and its override.

import { act, askForToken, isUnlocked, open } from "./actions.js";
import { closeButton, element, facts, pill, redraw, table } from "./dom.js";
import { eventLink } from "./event.js";
import { ago, span, timeText, unitText, valueText } from "./format.js";
import { PointHistory } from "./history.js";
import { membersOf } from "./members.js";
import { ask, isComputed, isMade, nowMs, state, when } from "./state.js";

let opened = null; // {name, number, live, members, registers, history, now, turn}: the point whose dialog is open

export function begin() {
  when("values", (changed) => opened && (changed.includes(opened.number) || opened.now?.members) && loadNow());
  when("status", () => opened && showLive());
  when("connection", () => opened && showLive());
}

export function leavePoint() {
  opened = null;
}

// Open a point, or follow it to the number that it has in other tables.
export function showPoint(name) {
  const number = state.points.findIndex((point) => point.name === name);
  if (opened?.name === name && opened.point) {
    Object.assign(opened, { number, point: state.points[number] ?? opened.point });
    loadNow();
    return;
  }
  const point = state.points[number];
  const [live, members, registers] = [element("div", { className: "card" }), element("div", { className: "card", hidden: true }), element("div")];
  const history = point && !isMade(point) && !isComputed(point) ? new PointHistory(point) : null;
  opened = { name, number, point, live, members, registers, history, now: null, turn: 0 };
  open([
    element("div", { className: "head" }, element("h2", { id: "dialog-title" }, name), closeButton()),
    element("p", { className: "soft" }, point?.description ?? ""),
    live,
    members,
    history?.node,
    point ? placesCard(point, registers) : "",
    point ? forceForm(point) : "",
  ].filter(Boolean));
  loadNow();
  history?.load();
}

const placesCard = (point, registers) => element("div", { className: "card" }, facts([
  ["Asset", [point.asset_name, point.asset].filter(Boolean).join(" · ")],
  ["Place", point.location],
  ["Site", point.site],
  [isComputed(point) ? "Computed" : "From", element("code", {}, isComputed(point) ? point.from.replace(/^\$(expr )?/, "") : point.from)],
  ["Unit", point.unit],
  ["Stale after", point.stale_after_s === null ? "never" : span(point.stale_after_s)],
  ...point.topics.map((place) => [place.sink, element("code", {}, place.topic)]),
]), registers);

// Request what registers and objects show and why a value is bad; the stream has only the value.
async function loadNow() {
  const mine = opened;
  mine.turn += 1;
  const turn = mine.turn;
  showLive();
  if (mine.number < 0) return;
  const found = await ask(`/api/points/${encodeURIComponent(mine.name)}`).catch(() => null); // it is away, or other tables come
  if (mine !== opened || turn !== mine.turn || found === null) return;
  mine.now = found;
  showLive();
  mine.registers.replaceChildren(registerTable(), objectTable());
  mine.members.hidden = !found.members;
  if (found.members) redraw(mine.members, membersOf(found));
}

function registerTable() {
  const rows = opened.now.registers.map((register) => {
    const sink = state.status?.sinks[register.sink];
    const away = sink && sink.state !== "up" ? pill(sink.state) : "";
    const content = register.content === null ? "no value" : valueText(register.content);
    return [element("span", {}, register.sink, " ", away), String(register.unit), `${register.place} (${register.modicon})`, register.format, element("span", {}, element("code", {}, register.words), ` = ${content}`)];
  });
  return rows.length ? table(["Sink", "Unit", "Register", "Type", "Words now"], rows, "") : "";
}

function objectTable() {
  const rows = opened.now.objects.map(({ sink, object, present_value, status, refusal }) => [sink, object, present_value, refusal ? `${status}: ${refusal}` : status]);
  return rows.length ? table(["Sink", "BACnet object", "Present_Value", "Status_Flags, Reliability"], rows, "") : "";
}

function showLive() {
  const { point, number, live, now } = opened;
  if (number < 0) {
    live.replaceChildren(element("p", { className: "nothing" }, state.points.length ? `The point tables have no such point${point ? " any more" : ""}.` : "Loading …"));
    return;
  }
  const shown = state.shown[number];
  if (!shown) {
    live.replaceChildren(element("div", { className: "head" }, element("h3", {}, "Now"), pill("waiting")), element("p", { className: "nothing" }, "No reading has come yet."));
    return;
  }
  const forced = state.status?.mapping.forced[point.name];
  const isOld = !state.isConnected;
  const event = shown.event ?? now?.event;
  redraw(
    live,
    element("div", { className: "head" }, element("h3", {}, isOld ? "Last seen" : "Now"), isOld ? pill("old", "bad") : pill(shown.quality)),
    isOld ? element("p", { className: "error" }, `${state.reason ?? "The gateway does not answer"}: what is shown here is old.`) : "",
    facts([
      ["Value", `${valueText(shown.value)} ${unitText(point.unit)}`],
      ["Why", whyNot(shown, now, point)],
      ["Reading", shown.quality !== "good" && now?.read_ms ? `${[JSON.stringify(now.raw), now.raw_unit].filter(Boolean).join(" ")}, measured ${timeText(now.read_ms)}` : null],
      ["Measured", `${timeText(shown.timeMs)} (${ago(shown.timeMs, nowMs())})`],
      ["Event", event && eventLink(event)],
      ["Forced until", forced && timeText(forced.until_ms)],
    ]),
  );
  opened.history?.follow(shown);
}

// Why the newest reading is not shown, or not good.
function whyNot({ quality, timeMs }, now, point) {
  if (isComputed(point) && (quality === "stale" || quality === "held")) return "too few of the points that it is computed from have a value";
  const old = `there is no reading since ${timeText(now?.read_ms ?? timeMs)}, and it counts for ${span(point.stale_after_s ?? 0)}`;
  const reasons = { bad: now?.bad_reason, stale: old, held: `${old}; the last good value is held`, offline: "Infodeck reports that the device is not connected", forced: "forced by hand" };
  return reasons[quality];
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
