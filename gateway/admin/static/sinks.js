// Each sink: whether its receiver is there, its lag, and its rate.

import { byId, element, facts, pill } from "./dom.js";
import { ago, counted, span } from "./format.js";
import { plot } from "./plots.js";
import { nowMs, rates, state, when } from "./state.js";

export function begin() {
  when("status", () => byId("view-sinks").hidden || show());
}

export function show() {
  const sinks = Object.entries(state.status?.sinks ?? {});
  byId("view-sinks").replaceChildren(
    sinks.length ? element("div", { className: "cards" }, ...sinks.map(sinkCard)) : element("p", { className: "nothing" }, "No sink is configured."),
  );
}

function sinkCard([name, sink]) {
  const now = nowMs();
  const rate = rates((sample) => sample.sinks[name]);
  return element(
    "article",
    { className: "card" },
    element("div", { className: "head" }, element("h2", {}, name), pill(sink.state)),
    facts([
      ["Type", sink.type],
      ["Behind", sink.lag ? `${counted(sink.lag, "event")}, ${span(sink.lag_s)}` : "nothing waits"],
      ["Written", sink.written.toLocaleString()],
      ["Last success", sink.last_success_ms && ago(sink.last_success_ms, now)],
      ["Retries", sink.retries || null],
      ["Reconnects", sink.reconnects || null],
      ["Refused values", sink.dead_letters || null],
      ["Clients", sink.clients && clientsText(sink)],
      ["BBMD", sink.bacnet?.registration],
    ]),
    sink.last_error ? element("p", { className: sink.state === "up" ? "soft" : "error" }, `${sink.state === "up" ? "Last error" : "Error"}${sink.last_error_ms ? `, ${ago(sink.last_error_ms, now)}` : ""}: ${sink.last_error}`) : "",
    element("h3", {}, "Updates a second"),
    plot(rate, { describe: (value) => `${value.toFixed(1)}/s`, from: `${span(rate.length / 2)} ago`, to: "now", low: 0, label: `Updates a second of ${name}` }),
  );
}

function clientsText({ clients, bacnet }) {
  const requests = `${clients.requests.toLocaleString()} requests`;
  if (!bacnet) return `${clients.connected} connected, ${requests}, ${clients.refused} refused`;
  const last = clients.last ? `, last from ${clients.last}` : "";
  const dropped = bacnet.dropped_subscriptions ? `, ${bacnet.dropped_subscriptions} dropped` : "";
  return `${requests}${last}, ${clients.refused} ignored (not in allow), ${counted(bacnet.subscriptions, "subscription")} of ${counted(clients.connected, "client")}${dropped}`;
}
