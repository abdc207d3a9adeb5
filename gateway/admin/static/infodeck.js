// Infodeck's assets against the point tables, and how reconciliation goes.

import { byId, card, element, facts, pill, table } from "./dom.js";
import { ago } from "./format.js";
import { nowMs, state, when } from "./state.js";

export function begin() {
  when("status", () => byId("view-infodeck").hidden || show());
}

export function show() {
  if (!state.status) return;
  const { reconcile, inventory, refill, tables } = state.status;
  const now = nowMs();
  const kinds = { ok: "good", off: "stale", starting: "starting", failing: "failing" };
  byId("view-infodeck").replaceChildren(
    element(
      "div",
      { className: "cards" },
      element(
        "article",
        { className: "card" },
        element("div", { className: "head" }, element("h2", {}, "Reconciliation"), pill(reconcile.state, kinds[reconcile.state])),
        reconcile.state === "off" ? element("p", { className: "soft" }, "There is no infodeck.api_key, so Infodeck's API is not asked.") : "",
        facts([
          ["Last answer", reconcile.last_success_ms && ago(reconcile.last_success_ms, now)],
          ["Assets", reconcile.assets], ["Asset types", reconcile.types], ["Locations", reconcile.locations],
          ["Runs", `${reconcile.succeeded} ok, ${reconcile.failed} failed`],
        ].map(([name, value]) => [name, typeof value === "number" ? value.toLocaleString() : value])),
        reconcile.last_error && reconcile.state !== "ok" ? element("p", { className: "error" }, reconcile.last_error) : "",
        reconcile.trouble ? element("p", { className: "error" }, reconcile.trouble) : "",
        ...Object.entries(reconcile.missing).map(([part, reason]) => element("p", { className: "error" }, `${part}: ${reason}`)),
      ),
      card("Refill", facts([
        ["Readings", refill.readings.toLocaleString()], ["From history", refill.history_readings.toLocaleString()], ["Open gaps", refill.open_gaps.toLocaleString()],
        ["Last", refill.last_ms && ago(refill.last_ms, now)], ["Without time", refill.without_time || null],
      ]), refill.last_error ? element("p", { className: "error" }, refill.last_error) : "", refill.history_error ? element("p", { className: "error" }, refill.history_error) : ""),
      card("Point tables", facts([
        ["Points", tables.points.toLocaleString()], ["Assets", tables.assets.toLocaleString()], ["Loaded", ago(tables.loaded_ms, now)], ["Reloads", `${tables.reloads} taken, ${tables.refused} refused`],
      ]), ...tables.problems.map((problem) => element("p", { className: "error" }, problem)), ...tables.warnings.slice(0, 10).map((warning) => element("p", { className: "soft" }, warning))),
    ),
    card(`Online and in no table (${inventory.unmapped.toLocaleString()})`, sample(inventory.unmapped_sample, inventory.unmapped, "Every asset that is online is in a table.")),
    card(`In a table and unknown to Infodeck (${inventory.gone.toLocaleString()})`, sample(inventory.gone_sample, inventory.gone, "Infodeck knows every asset of the tables.")),
  );
}

function sample(names, total, none) {
  if (names.length === 0) return table([], [], none);
  const more = total > names.length ? element("p", { className: "soft" }, `and ${(total - names.length).toLocaleString()} more`) : "";
  return element("div", {}, element("p", {}, ...names.flatMap((name) => [element("code", {}, name), " "])), more);
}
