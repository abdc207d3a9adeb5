// A point's history as a picture: a line in steps, as the point showed its readings, and bands without a line
// where it had no good one. Times are Unix ms.

import { drawing } from "./dom.js";
import { valueText } from "./format.js";

const HEIGHT = 190;
const [TOP, BOTTOM, RIGHT] = [8, 22, 10];
const LETTER_WIDTH = 7;
const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
const TIME_STEPS = [1000, 5000, 15_000, 30_000, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY];

// The value as a number, null if it is none. Whole numbers beyond a browser's come as text.
export function numberOf(value) {
  if (typeof value === "boolean") return Number(value);
  if (typeof value === "string" && /^-?\d+$/.test(value)) return Number(value);
  return typeof value === "number" ? value : null;
}

const isDrawn = ([, value, quality]) => quality === "good" && numberOf(value) !== null;

// The picture, and `timeAt`, the time at a horizontal place in it. `rows` have time, value and quality, oldest
// first; `until` is now, or the end.
export function drawHistory(rows, { from, to, until, width, label }) {
  const numbers = rows.filter(isDrawn).map((row) => numberOf(row[1]));
  const ticks = valueTicks(numbers);
  const texts = ticks.map((tick) => valueText(tick));
  const left = 12 + LETTER_WIDTH * Math.max(2, ...texts.map((text) => text.length));
  const [bottom, top] = [ticks[0], ticks.at(-1)];
  const x = (time) => Math.round(10 * (left + ((Math.min(Math.max(time, from), to) - from) / (to - from)) * (width - left - RIGHT))) / 10;
  const y = (value) => Math.round(10 * (TOP + ((top - value) / (top - bottom)) * (HEIGHT - TOP - BOTTOM))) / 10;
  const text = (content, at, height, anchor) => drawing("text", { x: at, y: height, "text-anchor": anchor }, content);
  const across = (height) => drawing("line", { x1: left, x2: width - RIGHT, y1: height, y2: height });
  const times = timeTicks(from, to, Math.max(2, Math.floor((width - left) / 80)));
  const picture = drawing(
    "svg",
    { class: "history", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": label },
    ...ticks.map((tick) => across(y(tick))),
    ...ticks.map((tick, index) => text(texts[index], left - 6, y(tick) + 4, "end")),
    ...times.map(([time, content]) => text(content, x(time), HEIGHT - 6, "middle")),
    ...bands(rows, until).map(([begin, end, quality]) => drawing("rect", { class: quality, x: x(begin), width: Math.max(2, x(end) - x(begin)), y: TOP, height: HEIGHT - TOP - BOTTOM })),
    drawing("path", { d: line(rows, until, x, y) }),
  );
  return { picture, x, timeAt: (place) => from + ((Math.min(Math.max(place, left), width - RIGHT) - left) / (width - left - RIGHT)) * (to - from) };
}

function line(rows, until, x, y) {
  let path = "";
  let isOpen = false;
  for (const row of rows) {
    if (isOpen) path += `H${x(row[0])}`;
    if (isDrawn(row)) path += isOpen ? `V${y(numberOf(row[1]))}` : `M${x(row[0])} ${y(numberOf(row[1]))}`;
    isOpen = isDrawn(row);
  }
  return isOpen ? `${path}H${x(until)}` : path;
}

function bands(rows, until) {
  const ends = rows.map((row, index) => [row[0], rows[index + 1]?.[0] ?? until, row[2]]);
  return ends.filter(([begin, end, quality]) => quality !== "good" && end >= begin);
}

// Round values around all numbers, three to six of them.
function valueTicks(numbers) {
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) [low, high] = [Math.min(low, number), Math.max(high, number)];
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - (Math.abs(low) / 100 || 1), high + (Math.abs(low) / 100 || 1)];
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => (high - low) / each <= 4.5);
  const ticks = [];
  for (let index = Math.floor(low / step); index <= Math.ceil(high / step); index += 1) ticks.push(Number((index * step).toPrecision(12)));
  return ticks;
}

// Round local times with their texts; midnight has the date.
function timeTicks(from, to, most) {
  const step = TIME_STEPS.find((each) => Math.floor((to - from) / each) <= most) ?? Math.ceil((to - from) / most / DAY) * DAY;
  const offset = new Date(from).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let time = Math.ceil((from - offset) / step) * step + offset; time <= to; time += step) {
    const date = new Date(time);
    const isMidnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
    const clock = { hour: "2-digit", minute: "2-digit", ...(step < MINUTE ? { second: "2-digit" } : {}) };
    ticks.push([time, isMidnight ? date.toLocaleDateString([], { day: "numeric", month: "short" }) : date.toLocaleTimeString([], clock)]);
  }
  return ticks;
}
