// The history of the open point: its picture, zoom, the reading under the pointer, and the file.

import { drawHistory, numberOf } from "./chart.js";
import { isoTime, saveCsv } from "./csv.js";
import { drawing, element, pill, table } from "./dom.js";
import { eventLink } from "./event.js";
import { counted, timeText, unitText, valueText } from "./format.js";
import { ask, nowMs } from "./state.js";

const HOUR = 3_600_000;
const SPANS = [["1 h", HOUR], ["6 h", 6 * HOUR], ["24 h", 24 * HOUR], ["All", null]];
const SHORTEST = 10_000;
const CSV_WIDTH = 20_000;
const MOST_TEXTS = 50;
const DRAGGED = 6; // pixels; less is a click

export class PointHistory {
  constructor(point) {
    this.point = point;
    this.unit = unitText(point.unit);
    this.shown = { span: null }; // `span` up to now (null: as long as the journal reaches), or `from` and `to`
    this.found = null; // as the gateway answered; null until it has
    this.drawn = null;
    this.cursor = null; // the place of a reading in found.rows
    this.loads = 0;
    this.plot = element("div", { className: "plot-area" });
    this.said = element("p", { className: "soft", role: "status" });
    this.spans = SPANS.map(([text, span]) => button(text, `Show ${text}`, () => this.load({ span })));
    this.node = element("div", { className: "card" }, element("div", { className: "head" }, element("h3", {}, "History"), this.#buttons()), this.plot, this.said);
    new ResizeObserver(() => this.#draw()).observe(this.plot);
  }

  #buttons() {
    return element("span", { className: "buttons" },
      ...this.spans,
      button("◀", "Earlier", () => this.#move(-0.5, 1)), button("▶", "Later", () => this.#move(0.5, 1)),
      button("+", "Zoom in", () => this.#move(0, 0.5)), button("−", "Zoom out", () => this.#move(0, 2)),
      button("CSV", "Save the readings of this time as CSV", () => this.#save()));
  }

  async load(shown = this.shown) {
    this.shown = shown;
    this.found = null;
    this.loads += 1;
    const load = this.loads;
    this.spans.forEach((each, index) => each.setAttribute("aria-pressed", String(this.#isLive() && SPANS[index][1] === shown.span)));
    this.said.textContent = "reading the journal …";
    try {
      const found = await this.#request(Math.max(100, this.plot.clientWidth));
      if (load !== this.loads) return;
      Object.assign(this, { found, cursor: null });
      this.#draw();
      this.#describe();
    } catch (error) {
      if (load !== this.loads) return;
      this.plot.replaceChildren();
      this.said.replaceChildren(error.message);
    }
  }

  // Show what the point shows now, if that came after the history was read, and let time pass.
  follow({ value, quality, timeMs, event }) {
    const { found } = this;
    if (found === null || !this.#isLive()) return;
    const last = found.rows.at(-1);
    if (isReading(quality) && (!last || timeMs > last[0])) {
      found.rows.push([timeMs, value, quality, event]);
      found.readings += 1;
    } else if (["stale", "held", "offline"].includes(quality) && last && isReading(last[2])) {
      found.rows.push([nowMs(), null, quality === "held" ? "stale" : quality, null]);
    }
    if (nowMs() - found.to_ms > (found.to_ms - found.from_ms) / 10) {
      this.load(); // with what came late, and without what is over
      return;
    }
    if (this.cursor === null) this.#describe();
    if (!this.plot.matches(":active")) this.#draw();
  }

  #isLive() {
    return this.shown.to === undefined;
  }

  #range() {
    if (!this.#isLive()) return this.shown;
    return { from: this.shown.span === null ? this.found.from_ms : nowMs() - this.shown.span, to: nowMs() };
  }

  #request(width) {
    const query = new URLSearchParams({ width });
    if (!this.#isLive()) query.set("to", Math.round(this.shown.to));
    if (this.shown.span !== null) query.set("from", Math.round(this.shown.from ?? nowMs() - this.shown.span));
    return ask(`/api/points/${encodeURIComponent(this.point.name)}/history?${query}`);
  }

  // Show another time: `by` so much of the present one earlier or later, `factor` times as long.
  #move(by, factor) {
    if (this.found === null) return;
    const { from, to } = this.#range();
    const long = Math.max(SHORTEST, (to - from) * factor);
    const end = Math.min((from + to) / 2 + by * (to - from) + long / 2, nowMs());
    this.load({ from: end - long, to: end });
  }

  #draw() {
    if (this.found === null || this.plot.clientWidth === 0) return;
    const { rows } = this.found;
    if (rows.some(([, value, quality]) => quality === "good" && numberOf(value) === null)) {
      this.plot.replaceChildren(this.#textTable());
      return;
    }
    const { from, to } = this.#range();
    const label = `${this.point.name} from ${timeText(from)} to ${timeText(to)}. Arrow keys go from reading to reading, Enter opens its event.`;
    const hasFocus = this.plot.contains(document.activeElement);
    this.drawn = drawHistory(rows, { from, to, until: Math.min(to, nowMs()), width: this.plot.clientWidth, label });
    this.plot.replaceChildren(this.drawn.picture);
    if (this.cursor !== null) this.#mark(this.drawn.x(rows[this.cursor][0]));
    this.#listen(this.drawn.picture);
    if (hasFocus) this.drawn.picture.focus({ preventScroll: true });
  }

  #textTable() {
    const rows = this.found.rows.filter(([at]) => at >= this.#range().from).slice(-MOST_TEXTS).reverse();
    const cells = ([at, value, quality, event]) => [timeText(at), valueText(value), pill(quality), event ? eventLink(event) : ""];
    return table(["Measured", "Value", "Quality", "Event"], rows.map(cells), "No reading in this time.");
  }

  #describe() {
    const { rows, readings, since_ms: sinceMs } = this.found;
    if (this.cursor !== null) {
      const [at, value, quality, event] = rows[this.cursor];
      this.said.replaceChildren(`${timeText(at)}: `, value === null ? "" : `${valueText(value)} ${this.unit} `, pill(quality), " ", event ? eventLink(event) : "");
      return;
    }
    const { from } = this.#range();
    const kept = rows.filter(([at, , quality]) => at >= from && isReading(quality)).length;
    const thinned = kept < readings ? `; ${kept.toLocaleString()} are drawn, with all peaks` : "";
    const incomplete = sinceMs === null ? "" : ` Events received before ${timeText(sinceMs)} could not be read in time: choose a shorter time.`;
    this.said.replaceChildren(readings ? `${counted(readings, "reading")}${thinned}.${incomplete} Drag to zoom.` : `No reading in this time.${incomplete}`);
  }

  // Mark a place in the picture, or the part between two.
  #mark(begin, end = begin) {
    const { picture } = this.drawn;
    picture.querySelector(".cursor")?.remove();
    picture.append(drawing("rect", { class: "cursor", x: Math.min(begin, end), width: Math.max(1, Math.abs(end - begin)), y: 0, height: "100%" }));
  }

  #choose(place) {
    const rows = this.found?.rows ?? [];
    if (rows.length === 0) return;
    this.cursor = Math.min(rows.length - 1, Math.max(0, place));
    this.#mark(this.drawn.x(rows[this.cursor][0]));
    this.#describe();
  }

  #openEvent() {
    this.said.querySelector("a")?.click();
  }

  #listen(picture) {
    let begin = null; // where the button was pressed
    const placeOf = (event) => event.clientX - picture.getBoundingClientRect().left;
    const isDrag = (event) => begin !== null && Math.abs(placeOf(event) - begin) > DRAGGED;
    picture.addEventListener("pointerdown", (event) => {
      begin = placeOf(event);
      picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener("pointermove", (event) => {
      if (isDrag(event)) this.#mark(begin, placeOf(event));
      else this.#choose(this.found?.rows.findLastIndex(([at]) => at <= this.drawn.timeAt(placeOf(event))));
    });
    picture.addEventListener("pointerup", (event) => {
      const [from, to] = [begin ?? 0, placeOf(event)].map(this.drawn.timeAt).sort((one, other) => one - other);
      if (!isDrag(event)) this.#openEvent();
      else if (to - from >= SHORTEST) this.load({ from, to });
      begin = null;
    });
    picture.addEventListener("pointercancel", () => { begin = null; });
    picture.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (event.key === "Enter") this.#openEvent();
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.#choose((this.cursor ?? this.found?.rows.length) + steps[event.key]);
    });
  }

  async #save() {
    const { name, unit } = this.point;
    try {
      const { rows } = await this.#request(CSV_WIDTH);
      const cells = ([at, value, quality, event]) => [isoTime(at), value, value === null ? "" : unit, quality, event];
      saveCsv(name, [["time", "value", "unit", "quality", "event"], ...rows.map(cells)]);
    } catch (error) {
      this.said.replaceChildren(error.message);
    }
  }
}

const isReading = (quality) => quality === "good" || quality === "bad";

const button = (text, title, onclick) => element("button", { type: "button", className: "quiet", title, "aria-label": title, onclick }, text);
