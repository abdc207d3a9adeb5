// Trend lines and plots.

import { drawing, element } from "./dom.js";

const WIDTH = 100;
const HEIGHT = 24;

// `numbers` are times and values in turns, oldest first.
export function pathOf(numbers, { low, high, height = HEIGHT } = {}) {
  const times = numbers.filter((_, index) => index % 2 === 0);
  const values = numbers.filter((_, index) => index % 2 === 1);
  const bottom = low ?? Math.min(...values);
  const top = high ?? Math.max(...values);
  const [from, to] = [times[0], times[times.length - 1]];
  const x = (time) => (to > from ? ((time - from) / (to - from)) * WIDTH : WIDTH / 2);
  const y = (value) => (top > bottom ? height - 1 - ((value - bottom) / (top - bottom)) * (height - 2) : height / 2);
  return values.map((value, index) => `${index ? "L" : "M"}${x(times[index]).toFixed(2)} ${y(value).toFixed(2)}`).join("");
}

export function trend(numbers) {
  const picture = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (numbers && numbers.length >= 4) picture.append(drawing("path", { d: pathOf(numbers) }));
  return picture;
}

// A plot with its range below it; `describe` makes the text of a value, `from` and `to` are texts of times.
export function plot(numbers, { describe, from, to, low, label }) {
  if (numbers.length < 4) return element("p", { className: "soft" }, "Two values make a line; wait for the next one.");
  const values = numbers.filter((_, index) => index % 2 === 1);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const [bottom, top] = [low ?? least, most > (low ?? least) ? most : (low ?? least) + 1];
  const height = 60;
  const picture = drawing(
    "svg",
    { class: "plot", viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${describe(least)} to ${describe(most)}` },
    drawing("line", { x1: 0, x2: WIDTH, y1: height - 1, y2: height - 1 }),
    drawing("path", { d: pathOf(numbers, { low: bottom, high: top, height }) }),
  );
  const range = `${describe(least)} to ${describe(most)}`;
  return element(
    "figure",
    { className: "figure" },
    picture,
    element("figcaption", { className: "axis" }, element("span", {}, from), element("span", {}, range), element("span", {}, to)),
  );
}
