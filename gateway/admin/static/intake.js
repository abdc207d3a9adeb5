// What comes in: how much, what is refused and why, and what became of the last events.

import { byId, card, element, facts, pill, redraw, table } from "./dom.js";
import { eventLink } from "./event.js";
import { ago, sizeText, span } from "./format.js";
import { plot } from "./plots.js";
import { ask, nowMs, rates, state, when } from "./state.js";

const ANSWERS = { 200: "accepted", 400: "no event", 401: "signature", 403: "not a trusted proxy", 404: "other path", 405: "other method", 413: "too large", 500: "our fault", 503: "come again" };
const MOST_SHOWN = 30;

let events = [];
let cards = null;

export function begin() {
  when("status", () => byId("view-intake").hidden || show());
}

export async function show() {
  if (!state.status) return;
  cards ??= makeCards();
  showCounts();
  try {
    events = await ask("/api/events");
  } catch {
    return; // the page says already that the gateway is away
  }
  redraw(cards.events, eventTable());
}

function makeCards() {
  const made = { counts: element("div", { className: "cards" }), events: element("div") };
  byId("view-intake").replaceChildren(made.counts, card("Last events", made.events));
  return made;
}

function showCounts() {
  const { intake, journal, mapping, source } = state.status;
  const rate = rates((sample) => sample.answers);
  const counted = (counts, names = {}) => Object.entries(counts).map(([key, count]) => [names[key] ? `${key}, ${names[key]}` : key, count.toLocaleString()]);
  cards.counts.replaceChildren(
    card(source ? "Messages a second" : "Requests a second", plot(rate, { describe: (value) => `${value.toFixed(1)}/s`, from: `${span(rate.length / 2)} ago`, to: "now", low: 0, label: source ? "Messages a second" : "Requests a second" }),
      facts([["Last event", journal.last_event_ms ? ago(journal.last_event_ms, nowMs()) : "none since the start"], ["Events", journal.accepted.toLocaleString()], ["Came again", journal.duplicates.toLocaleString()]])),
    ...(source ? sourceCards(source, counted) : intakeCards(intake, counted)),
    card("What became of them", facts([
      ["Mapped", mapping.mapped.toLocaleString()], ["In no table", mapping.unmapped.toLocaleString()], ["Unreadable", mapping.unreadable.toLocaleString()],
      ["Late readings", mapping.late.toLocaleString()], ["From the future", mapping.clock_ahead.toLocaleString()], ["Test events", intake.test_events.toLocaleString()],
      ["Journal", `${sizeText(journal.bytes_used)} of ${sizeText(journal.bytes_limit)}`],
      ["State", journal.state === "ok" ? null : element("span", { className: "error" }, journal.state)],
    ])),
  );
}

function intakeCards(intake, counted) {
  return [
    card("Signing secrets", facts(intake.secrets.map((secret) => [secret.source, secretText(secret)])),
      intake.previous_secrets.number ? element("p", { className: "soft" }, `${intake.previous_secrets.number} previous ones are accepted for 48 h after they were replaced.`) : ""),
    card("Answers", orNone(counted(intake.answers, ANSWERS), "No request has come."), intake.last_refusal ? element("h3", {}, "Refused for") : "", intake.last_refusal ? facts(counted(intake.refused)) : ""),
  ];
}

function sourceCards(source, counted) {
  const waits = source.connected ? (source.pending ?? 0).toLocaleString() : "not known";
  return [
    card("Source", facts([
      ["State", source.connected ? source.state : element("span", { className: "error" }, `${source.state}${source.last_error ? `: ${source.last_error}` : ""}`)],
      ["Stream", source.stream], ["Consumer", source.consumer], ["Waiting there", waits], ["Messages", source.messages.toLocaleString()],
      ["Last message", source.last_message_ms ? ago(source.last_message_ms, nowMs()) : "none since the start"],
      ["Waits for the journal", source.waits_for_journal],
    ])),
    card("Verified by", orNone(counted(source.verified_by), "No event has come."), Object.keys(source.unusable).length ? element("h3", {}, "Dropped") : "", facts(counted(source.unusable))),
  ];
}

const DUE_AFTER_S = 90 * 86400; // Infodeck's guide

function secretText(secret) {
  const now = nowMs();
  const age = secret.changed_ms === null ? null : (now - secret.changed_ms) / 1000;
  const used = secret.last_used_ms ? `used ${ago(secret.last_used_ms, now)}` : "not used since the start";
  const text = [used, age === null ? null : `${span(age)} old`].filter(Boolean).join(", ");
  return age !== null && age > DUE_AFTER_S ? element("span", { className: "error" }, `${text}: renew it`) : text;
}

const orNone = (pairs, text) => (pairs.length ? facts(pairs) : element("p", { className: "nothing" }, text));

function eventTable() {
  const now = nowMs();
  const rows = events.slice(0, MOST_SHOWN).map((event) => [
    ago(event.received_ms, now),
    element("span", {}, event.tags.join(", ") || event.asset || "–", event.source === "reconcile" ? " (from the API)" : ""),
    eventLink(event.id),
    way(event),
  ]);
  return table(["Received", "Asset", "Event", "Way"], rows, "No event has come since the start.");
}

// The steps of an event: on disk, mapped, written by each sink.
function way(event) {
  if (!event.readable) return element("span", {}, pill("on disk", "good"), " ", pill("unreadable", "bad"));
  const steps = [pill("on disk", "good"), " ", event.mapped ? pill("mapped", "good") : pill("in no table", "stale")];
  for (const [name, isDone] of Object.entries(event.sinks)) steps.push(" ", isDone ? pill(name, "good") : pill(`${name} waits`, "stale"));
  return element("span", {}, ...steps);
}
