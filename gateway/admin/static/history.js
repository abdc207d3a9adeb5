// The history of the open point: its picture, zoom, the reading under the pointer, and the file.

import { drawHistory, numberOf } from "./chart.js";
import { isoTime, saveCsv } from "./csv.js";
import { drawing, element, pill, table } from "./dom.js";
import { eventLink } from "./event.js";
import { counted, timeText, unitText, valueText } from "./format.js";
import { ask, nowMs } from "./state.js";

const HOUR = 3_600_000;
const SHORTEST = 10_000;
const CSV_WIDTH = 20_000;
const MOST_TEXTS = 50;
const DRAGGED = 6; // pixels; less is a click
const SPANS = [["1 h", HOUR], ["6 h", 6 * HOUR], ["24 h", 24 * HOUR], ["All", null]];

export function makeHistory(point) {
  const unit = unitText(point.unit);
  const plot = element("div", { className: "plot-area" });
  const said = element("p", { className: "soft", role: "status" });
  const buttons = SPANS.map(([text, span]) => button(text, `Show ${text}`, () => load({ span })));
  const node = element(
    "div",
    { className: "card" },
    element("div", { className: "head" }, element("h3", {}, "History"), element("span", { className: "buttons" },
      ...buttons,
      button("◀", "Earlier", () => move(-0.5, 1)), button("▶", "Later", () => move(0.5, 1)), button("+", "Zoom in", () => move(0, 0.5)), button("−", "Zoom out", () => move(0, 2)),
      button("CSV", "Save the readings of this time as CSV", save))),
    plot,
    said,
  );
  let shown = { span: null }; // `span` up to now (null: as long as the journal reaches), or `from` and `to`
  let found = null;
  let drawn = null;
  let cursor = null; // the place of a reading in found.rows
  let loads = 0;

  const isLive = () => shown.to === undefined;
  const rangeOf = () => (isLive() ? { from: shown.span === null ? found.from_ms : nowMs() - shown.span, to: nowMs() } : shown);

  function request(width) {
    const query = new URLSearchParams({ width });
    if (!isLive() || shown.span !== null) query.set("from", Math.round(isLive() ? nowMs() - shown.span : shown.from));
    if (!isLive()) query.set("to", Math.round(shown.to));
    return ask(`/api/points/${encodeURIComponent(point.name)}/history?${query}`);
  }

  async function load(wanted) {
    shown = wanted;
    found = null;
    loads += 1;
    const load = loads;
    buttons.forEach((each, index) => each.setAttribute("aria-pressed", String(isLive() && SPANS[index][1] === shown.span)));
    said.textContent = "reading the journal …";
    try {
      const answer = await request(Math.max(100, plot.clientWidth));
      if (load !== loads) return;
      found = answer;
      cursor = null;
      draw();
      describe();
    } catch (error) {
      if (load !== loads) return;
      plot.replaceChildren();
      said.replaceChildren(error.message);
    }
  }

  function move(by, factor) {
    if (found === null) return;
    const { from, to } = rangeOf();
    const [middle, half] = [(from + to) / 2 + by * (to - from), Math.max(SHORTEST, (to - from) * factor) / 2];
    const end = Math.min(middle + half, nowMs());
    load({ from: end - 2 * half, to: end });
  }

  function draw() {
    if (found === null || plot.clientWidth === 0) return;
    if (found.rows.some(([, value, quality]) => quality === "good" && numberOf(value) === null)) {
      plot.replaceChildren(textTable());
      return;
    }
    const { from, to } = rangeOf();
    const label = `${point.name} from ${timeText(from)} to ${timeText(to)}. Arrow keys go from reading to reading, Enter opens its event.`;
    const hasFocus = plot.contains(document.activeElement);
    drawn = drawHistory(found.rows, { from, to, until: Math.min(to, nowMs()), width: plot.clientWidth, label });
    plot.replaceChildren(drawn.picture);
    if (cursor !== null) mark();
    listen(drawn.picture);
    if (hasFocus) drawn.picture.focus({ preventScroll: true });
  }

  function textTable() {
    const rows = found.rows.filter(([at]) => at >= rangeOf().from).slice(-MOST_TEXTS).reverse();
    return table(["Measured", "Value", "Quality", "Event"], rows.map(([at, value, quality, event]) => [timeText(at), valueText(value), pill(quality), event ? eventLink(event) : ""]), "No reading in this time.");
  }

  function describe() {
    if (cursor !== null) {
      const [at, value, quality, event] = found.rows[cursor];
      said.replaceChildren(`${timeText(at)}: `, value === null ? "" : `${valueText(value)} ${unit} `, pill(quality), " ", event ? eventLink(event) : "");
      return;
    }
    const { from } = rangeOf();
    const kept = found.rows.filter(([at, , quality]) => at >= from && (quality === "good" || quality === "bad")).length;
    const thinned = kept < found.readings ? `; ${kept.toLocaleString()} are drawn, with all peaks` : "";
    const incomplete = found.since_ms === null ? "" : ` Events received before ${timeText(found.since_ms)} could not be read in time: choose a shorter time.`;
    said.replaceChildren(found.readings ? `${counted(found.readings, "reading")}${thinned}.${incomplete} Drag to zoom.` : `No reading in this time.${incomplete}`);
  }

  function mark() {
    const place = drawn.x(found.rows[cursor][0]);
    drawn.picture.querySelector(".cursor")?.remove();
    drawn.picture.append(line(place, place));
  }

  function choose(place) {
    if (!found?.rows.length) return;
    cursor = Math.min(found.rows.length - 1, Math.max(0, place));
    mark();
    describe();
  }

  const openEvent = () => said.querySelector("a")?.click();

  function listen(picture) {
    let begin = null;
    const placeOf = (event) => event.clientX - picture.getBoundingClientRect().left;
    picture.addEventListener("pointerdown", (event) => {
      begin = placeOf(event);
      picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener("pointermove", (event) => {
      const place = placeOf(event);
      if (begin !== null && Math.abs(place - begin) > DRAGGED) {
        picture.querySelector(".cursor")?.remove();
        picture.append(line(begin, place));
        return;
      }
      choose(found?.rows.findLastIndex(([at]) => at <= drawn.timeAt(place)));
    });
    picture.addEventListener("pointerup", (event) => {
      const times = [begin ?? 0, placeOf(event)].map(drawn.timeAt).sort((one, other) => one - other);
      const isDrag = begin !== null && Math.abs(placeOf(event) - begin) > DRAGGED;
      begin = null;
      if (isDrag && times[1] - times[0] >= SHORTEST) load({ from: times[0], to: times[1] });
      else if (!isDrag) openEvent();
    });
    picture.addEventListener("pointercancel", () => { begin = null; });
    picture.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (event.key === "Enter") openEvent();
      if (!(event.key in steps)) return;
      event.preventDefault();
      choose((cursor ?? found.rows.length) + steps[event.key]);
    });
  }

  async function save() {
    try {
      const { rows } = await request(CSV_WIDTH);
      saveCsv(point.name, [["time", "value", "unit", "quality", "event"], ...rows.map(([at, value, quality, event]) => [isoTime(at), value, value === null ? "" : point.unit, quality, event])]);
    } catch (error) {
      said.replaceChildren(error.message);
    }
  }

  // What the point shows now, if it came since the history was read; and let time pass.
  function follow({ value, quality, timeMs, event }) {
    if (found === null || !isLive()) return;
    const last = found.rows.at(-1);
    const isReading = quality === "good" || quality === "bad";
    if (isReading && (!last || timeMs > last[0])) {
      found.rows.push([timeMs, value, quality, event]);
      found.readings += 1;
    } else if (["stale", "held", "offline"].includes(quality) && last && ["good", "bad"].includes(last[2])) {
      found.rows.push([nowMs(), null, quality === "held" ? "stale" : quality, null]);
    }
    if (nowMs() - found.to_ms > (found.to_ms - found.from_ms) / 10) {
      load(shown); // with what came late, and without what is over
      return;
    }
    if (cursor === null) describe();
    if (!plot.matches(":active")) draw();
  }

  new ResizeObserver(draw).observe(plot);
  return { node, load: () => load({ span: null }), follow };
}

const button = (text, title, onclick) => element("button", { type: "button", className: "quiet", title, "aria-label": title, onclick }, text);

const line = (begin, end) => drawing("rect", { class: "cursor", x: Math.min(begin, end), width: Math.max(1, Math.abs(end - begin)), y: 0, height: "100%" });
