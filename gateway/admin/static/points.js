// The list of points: only the visible rows exist, however many points there are.

import { read, write } from "./address.js";
import { isoTime, saveCsv } from "./csv.js";
import { byId, element, pill, setText } from "./dom.js";
import { counted, registerText, span, unitText, valueText } from "./format.js";
import { trend } from "./plots.js";
import { isMade, loadRecent, nowMs, state, when } from "./state.js";

const QUALITIES = ["good", "held", "stale", "bad", "forced", "offline", "waiting"];
const WORST_FIRST = ["bad", "offline", "stale", "held", "forced", "waiting", "good"];
const SPARE_ROWS = 6;
const FILTERS = ["search", "site", "quality", "sink", "order"]; // in the address, too
const TITLES = { name: "Point", value: "Value", quality: "Quality", age: "Age", trend: "Trend", location: "Place", topic: "MQTT topic", modbus: "Modbus" };
const CHANGING = ["value", "quality", "age"]; // with each reading
const KEYS = { // what the list is sorted by
  name: (point) => point.name,
  value: (_, shown) => (typeof shown?.value === "boolean" ? Number(shown.value) : shown?.value),
  quality: (_, shown) => WORST_FIRST.indexOf(shown?.quality ?? "waiting"),
  age: (_, shown) => (shown ? -shown.timeMs : null),
  location: (point) => point.location,
  topic: (point) => point.topics[0]?.topic,
  modbus: ({ registers: [first] }) => first && `${first.sink} ${first.unit} ${first.modicon.padStart(6, "0")} ${first.bit ?? ""}`,
};
const ORDERS = [["", "as in the tables"], ...Object.keys(KEYS).flatMap((key) => [[key, `${TITLES[key]} ▲`], [`-${key}`, `${TITLES[key]} ▼`]])];
const collator = new Intl.Collator(undefined, { numeric: true });

const rows = new Map(); // the list's rows by number of the point
let found = []; // numbers of the points that match the filters
let chosen = 0; // place in `found` of the row with the keyboard's focus
let parts = null;

export function begin() {
  const view = byId("view-points");
  const filter = (label, options) => {
    const select = element("select", { "aria-label": label, onchange: () => apply(true) });
    fill(select, label, options);
    return select;
  };
  parts = {
    search: element("input", { type: "search", placeholder: "Search name, description, topic, asset", "aria-label": "Search", oninput: () => apply(false) }),
    site: filter("every site", []),
    quality: filter("every quality", QUALITIES),
    sink: filter("every sink", []),
    order: element("select", { className: "order", "aria-label": "Order", onchange: () => apply(true) }, ...ORDERS.map(([value, text]) => element("option", { value }, text))),
    csv: element("button", { type: "button", className: "quiet", title: "Save this list with its values as CSV", onclick: save }, "CSV"),
    count: element("span", { className: "soft", role: "status" }),
    space: element("div", { className: "space" }),
    nothing: element("p", { className: "nothing", hidden: true }),
  };
  parts.list = element("div", { className: "list", role: "table", "aria-label": "Points" }, titleRow(), parts.space, parts.nothing);
  parts.list.addEventListener("scroll", draw, { passive: true });
  parts.list.addEventListener("keydown", move);
  new ResizeObserver(draw).observe(parts.list);
  const { search: field, site, quality, sink, order, count, csv } = parts;
  view.append(element("div", { className: "filters" }, field, site, quality, sink, order, csv, count), parts.list);
  when("points", () => {
    fill(site, "every site", [...new Set(state.points.map((point) => point.site))].sort());
    parts.list.classList.toggle("placeless", !state.points.some((point) => point.location));
    fill(sink, "every sink", [...new Set(state.points.flatMap(sinksOf))].sort());
    show();
  });
  when("values", (changed) => {
    if (view.hidden) return;
    if (quality.value || CHANGING.includes(order.value.replace("-", ""))) search();
    changed.forEach((number) => rows.has(number) && update(number, true));
  });
  setInterval(() => view.hidden || rows.forEach((_, number) => update(number, false)), 1000);
}

// Show the list with the filters of the address.
export function show() {
  const { query } = read();
  for (const name of FILTERS) {
    const wanted = query.get(name) ?? "";
    if (parts[name].value !== wanted) parts[name].value = wanted;
    if (parts[name].value !== wanted) parts[name].value = ""; // a choice that is not there
  }
  search();
}

const apply = (isStep) => write(Object.fromEntries(FILTERS.map((name) => [name, parts[name].value])), { isStep });

function sortBy(key) {
  parts.order.value = { [key]: `-${key}`, [`-${key}`]: "" }[parts.order.value] ?? key;
  apply(true);
}

function titleRow() {
  const content = (name, text) => (name in KEYS ? element("button", { type: "button", title: `Sort by ${text.toLowerCase()}`, onclick: () => sortBy(name) }, text) : text);
  parts.titles = Object.entries(TITLES).map(([name, text]) => element("span", { className: name, role: "columnheader" }, content(name, text)));
  return element("div", { className: "point title", role: "row" }, ...parts.titles);
}

function save() {
  const titles = ["point", "description", "value", "unit", "quality", "time", "event", "asset", "asset_name", "location", "topics", "registers", "objects"];
  const placeOf = ({ sink, unit, table, address, modicon }) => `${sink} unit ${unit} ${table} ${address} (${modicon})`;
  const rows = found.map((number) => {
    const [point, shown] = [state.points[number], state.shown[number]];
    return [point.name, point.description, shown?.value, point.unit, qualityOf(number), shown && isoTime(shown.timeMs), shown?.event, point.asset, point.asset_name, point.location, point.topics.map((place) => place.topic).join(" "), point.registers.map(placeOf).join("; "), point.objects.map((place) => `${place.sink} ${objectText(place)}`).join("; ")];
  });
  saveCsv("points", [titles, ...rows]);
}

function fill(select, all, options) {
  const before = select.value;
  select.replaceChildren(element("option", { value: "" }, all), ...options.map((text) => element("option", { value: text }, text)));
  select.value = options.includes(before) ? before : "";
}

const objectText = ({ type, instance }) => `${type} ${instance}`;
const sinksOf = (point) => [...point.topics, ...point.registers, ...point.objects].map((place) => place.sink);
const qualityOf = (number) => state.shown[number]?.quality ?? "waiting";

function textOf(point) {
  point.text ??= [point.name, point.description, point.asset, point.asset_name, point.location, ...point.topics.map((place) => place.topic), ...point.registers.map((register) => register.modicon), ...point.objects.map(objectText)]
    .filter(Boolean).join("\n").toLowerCase();
  return point.text;
}

function search() {
  const words = parts.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const [site, quality, sink] = [parts.site.value, parts.quality.value, parts.sink.value];
  found = [];
  state.points.forEach((point, number) => {
    if (site && point.site !== site) return;
    if (quality && qualityOf(number) !== quality) return;
    if (sink && !sinksOf(point).includes(sink)) return;
    if (words.every((word) => textOf(point).includes(word))) found.push(number);
  });
  sort(parts.order.value);
  const all = state.points.length;
  setText(parts.count, found.length === all ? counted(all, "point") : `${found.length.toLocaleString()} of ${counted(all, "point")}`);
  parts.nothing.hidden = found.length > 0;
  setText(parts.nothing, all ? "No point matches." : "The point tables have no points.");
  chosen = Math.min(chosen, Math.max(0, found.length - 1));
  draw();
}

// Numbers before texts; points without what the list is sorted by come last.
function sort(order) {
  const [name, sign] = [order.replace("-", ""), order.startsWith("-") ? -1 : 1];
  for (const title of parts.titles) title.setAttribute("aria-sort", title.className !== name ? "none" : sign > 0 ? "ascending" : "descending");
  if (!name) return;
  const keys = new Map(found.map((number) => [number, KEYS[name](state.points[number], state.shown[number]) ?? null]));
  found.sort((first, second) => {
    const [one, other] = [keys.get(first), keys.get(second)];
    if (one === other) return first - second;
    if (one === null || other === null) return one === null ? 1 : -1;
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
    return sign * (typeof one === "number" ? one - other : collator.compare(one, other));
  });
}

function rowHeight() {
  return Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 40;
}

function draw() {
  const height = rowHeight();
  parts.space.style.height = `${found.length * height}px`;
  parts.list.setAttribute("aria-rowcount", String(found.length + 1));
  const first = Math.max(0, Math.floor(parts.list.scrollTop / height) - SPARE_ROWS);
  const last = Math.min(found.length, Math.ceil((parts.list.scrollTop + parts.list.clientHeight) / height) + SPARE_ROWS);
  const wanted = new Map(found.slice(first, last).map((number, index) => [number, first + index]));
  for (const [number, row] of rows) {
    if (wanted.has(number) && row.point === state.points[number]) continue;
    row.node.remove();
    rows.delete(number);
  }
  for (const [number, place] of wanted) {
    const row = rows.get(number) ?? makeRow(number);
    row.node.style.transform = `translateY(${place * height}px)`;
    row.node.tabIndex = place === chosen ? 0 : -1;
    row.node.setAttribute("aria-rowindex", String(place + 2));
    row.node.dataset.place = String(place);
    update(number, false);
  }
  loadTrends();
}

let trendsDue = null;

function loadTrends() {
  clearTimeout(trendsDue);
  trendsDue = setTimeout(async () => {
    const numbers = [...rows.keys()];
    try {
      await loadRecent(numbers.map((number) => state.points[number].name));
    } catch {
      return; // the page says already that the gateway is away
    }
    numbers.forEach((number) => rows.has(number) && drawTrend(number));
  }, 120);
}

function makeRow(number) {
  const point = state.points[number];
  const cell = (name, ...children) => element("span", { className: name, role: "cell" }, ...children);
  const registers = point.registers.map((register) => `${register.modicon} ${registerText(register)}`).join(", ");
  const topics = point.topics.map((place) => place.topic).join(", ");
  const row = {
    point,
    value: cell("value"),
    quality: cell("quality"),
    age: cell("age"),
    trend: cell("trend"),
    shown: undefined,
  };
  row.node = element(
    "div",
    { className: "point", role: "row", onclick: () => openPoint(number) },
    element("span", { className: "name", role: "cell", title: point.description ?? point.name }, point.name, " ", element("small", {}, point.description ?? "")),
    row.value, row.quality, row.age, row.trend,
    ...[["location", point.location ?? ""], ["topic", topics], ["modbus", registers]].map(([name, text]) => element("span", { className: name, role: "cell", title: text }, text)),
  );
  rows.set(number, row);
  parts.space.append(row.node);
  return row;
}

const openPoint = (number) => write({ point: state.points[number].name }, { isStep: true });

function update(number, isNew) {
  const row = rows.get(number);
  const shown = state.shown[number];
  setText(row.age, shown ? span((nowMs() - shown.timeMs) / 1000) : "");
  if (row.shown === shown) return;
  row.shown = shown;
  row.value.replaceChildren(shown ? valueText(shown.value) : "–", " ", element("small", {}, unitText(row.point.unit)));
  row.quality.replaceChildren(pill(qualityOf(number)));
  if (!isNew || isMade(row.point)) return; // an age changes all the time
  row.node.classList.remove("changed");
  void row.node.offsetWidth; // begins the animation anew
  row.node.classList.add("changed");
  drawTrend(number);
}

function drawTrend(number) {
  rows.get(number).trend.replaceChildren(trend(state.recent.get(state.points[number].name)));
}

function move(event) {
  if (event.key === "Enter" && event.target.dataset.place) {
    event.preventDefault(); // or the same key press would press the dialog's first button
    openPoint(found[chosen]);
  }
  const page = Math.max(1, Math.floor(parts.list.clientHeight / rowHeight()) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -found.length, End: found.length };
  if (!(event.key in steps) || found.length === 0) return;
  event.preventDefault();
  chosen = Math.min(found.length - 1, Math.max(0, chosen + steps[event.key]));
  const height = rowHeight();
  const title = parts.list.firstElementChild.offsetHeight;
  const [top, bottom] = [chosen * height, (chosen + 1) * height + title];
  if (top < parts.list.scrollTop) parts.list.scrollTop = top;
  if (bottom > parts.list.scrollTop + parts.list.clientHeight) parts.list.scrollTop = bottom - parts.list.clientHeight;
  draw();
  rows.get(found[chosen])?.node.focus({ preventScroll: true });
}
