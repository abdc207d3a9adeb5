// The page: its views, which one is shown, and whether the gateway answers.

import * as actions from "./actions.js";
import { addressOf, read, write } from "./address.js";
import * as alarms from "./alarms.js";
import * as detail from "./detail.js";
import { byId, setText } from "./dom.js";
import { showEvent } from "./event.js";
import { shortened, span } from "./format.js";
import * as infodeck from "./infodeck.js";
import * as intake from "./intake.js";
import * as letters from "./letters.js";
import * as points from "./points.js";
import * as sinks from "./sinks.js";
import { connect, nowMs, state, when } from "./state.js";

const BANNER_TROUBLES = 3;
const BANNER_LETTERS = 150; // of each reason

const views = { points, sinks, intake, infodeck, letters, alarms };

function choose() {
  const { tab: wanted, query } = read();
  const name = Object.hasOwn(views, wanted) ? wanted : "points";
  for (const each of Object.keys(views)) byId(`view-${each}`).hidden = each !== name;
  byId("content").classList.toggle("fixed", name === "points");
  for (const link of document.querySelectorAll(".tabs a")) {
    if (!link.hash.startsWith(`#${name}`)) {
      link.removeAttribute("aria-current");
      continue;
    }
    link.setAttribute("aria-current", "page");
    const kept = new URLSearchParams(query);
    for (const part of ["point", "event"]) kept.delete(part);
    link.href = addressOf(name, kept); // so that a filter stays when the tab is left and opened again
  }
  views[name].show();
  openDialog();
}

// Open the event or the point that the address names.
function openDialog() {
  const { query } = read();
  const [point, event] = [query.get("point"), query.get("event")];
  if (event || !point) detail.leavePoint();
  if (event) showEvent(event);
  else if (point) detail.showPoint(point);
  else byId("dialog").close();
}

function closeDialog() {
  if (byId("dialog").open) return; // opened again with something else meanwhile
  write(read().query.has("event") ? { event: null } : { point: null }); // the point is below the event
}

function showState() {
  const { status, isConnected, reason } = state;
  const pill = byId("state");
  const banner = byId("banner");
  byId("content").classList.toggle("old", !isConnected && status !== null);
  if (!isConnected || !status) {
    setText(pill, reason ? "not reachable" : "connecting …");
    pill.className = `pill ${reason ? "bad" : ""}`;
    banner.hidden = !reason;
    setText(banner, `${reason}${status ? ": what is shown here is old" : ""}. It is tried again by itself.`);
    if (reason && status) document.title = `not reachable: ${status.name}`;
    return;
  }
  document.title = `${status.name}: gateway`;
  setText(byId("name"), status.name);
  const isTaking = status.ready && status.journal.state === "ok";
  setText(pill, isTaking ? `takes events, runs for ${span((nowMs() - status.started_ms) / 1000)}` : "takes no events");
  pill.className = `pill ${isTaking ? "good" : "bad"}`;
  const unseen = alarms.troubles(status).filter((trouble) => !trouble.acknowledged_ms);
  banner.hidden = unseen.length === 0;
  setText(banner, bannerText(unseen));
}

// The banner is short: the alarms tab has all of it.
function bannerText(troubles) {
  const parts = troubles.slice(0, BANNER_TROUBLES).map(({ name, reason }) => `${name}: ${shortened(reason, BANNER_LETTERS)}`);
  if (troubles.length > BANNER_TROUBLES) parts.push(`and ${troubles.length - BANNER_TROUBLES} more in Alarms`);
  return parts.join(" · ");
}

for (const part of [actions, detail, ...Object.values(views)]) part.begin();
when("status", showState);
when("connection", showState);
when("points", openDialog);
byId("dialog").addEventListener("close", closeDialog);
addEventListener("hashchange", choose);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which tab is open
  byId("content").focus();
});
choose();
connect();
