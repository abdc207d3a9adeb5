// All that the page knows: the points, what they show, and the gateway's status. Views are told of changes.

const MOST_REMEMBERED = 48;
const MOST_SAMPLES = 120; // of the status, one a second

export const state = {
  points: [], // as /api/points describes them; a point's number is its place
  shown: [], // by number: {value, quality, timeMs, event}
  recent: new Map(), // by point's name: times and values in turns
  status: null,
  samples: [], // of counters, for rates: {atMs, answers, sinks}
  generation: 0,
  isConnected: false,
};

const listeners = new Map();

export function when(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

function tell(name, detail) {
  for (const listener of listeners.get(name) ?? []) listener(detail);
}

// Whether the gateway makes the point's value by itself: $age, $quality and the like.
export const isMade = (point) => point.from.startsWith("$") && !point.from.startsWith("$.");

export async function ask(path, options) {
  const answer = await fetch(path, options);
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error ?? `${answer.status}`);
  return document;
}

export function connect() {
  const stream = new EventSource("/api/stream");
  let waiting = []; // values that came before the points they are of
  let loads = 0;
  stream.addEventListener("open", () => setConnected(true));
  stream.addEventListener("error", () => setConnected(false));
  stream.addEventListener("tables", (event) => {
    const load = ++loads;
    waiting = [];
    ask("/api/points").then((described) => {
      if (load !== loads) return; // other tables came into force meanwhile
      takePoints(described, Number(event.data));
      const late = waiting;
      waiting = null;
      late.forEach(takeValues);
    }, () => setConnected(false));
  });
  stream.addEventListener("values", (event) => {
    const rows = JSON.parse(event.data);
    if (waiting === null) takeValues(rows);
    else waiting.push(rows);
  });
  stream.addEventListener("status", (event) => takeStatus(JSON.parse(event.data)));
}

function setConnected(isConnected) {
  state.isConnected = isConnected;
  tell("connection");
}

function takePoints(described, generation) {
  state.generation = generation;
  state.points = described.points;
  state.shown = new Array(described.points.length).fill(null);
  tell("points");
}

function takeValues(rows) {
  const changed = [];
  for (const [number, value, quality, timeMs, event] of rows) {
    if (number >= state.points.length) continue;
    state.shown[number] = { value, quality, timeMs, event };
    changed.push(number);
    const point = state.points[number];
    const recent = isMade(point) ? undefined : state.recent.get(point.name);
    const isLater = recent && !(recent.at(-2) >= timeMs / 1000); // of an empty list, too
    if (isLater && quality === "good" && typeof value === "number") {
      recent.push(timeMs / 1000, value);
      recent.splice(0, Math.max(0, recent.length - 2 * MOST_REMEMBERED));
    }
  }
  tell("values", changed);
}

function takeStatus(status) {
  state.status = status;
  const answers = Object.values(status.intake.answers).reduce((sum, count) => sum + count, 0);
  const sinks = Object.fromEntries(Object.entries(status.sinks).map(([name, sink]) => [name, sink.written]));
  state.samples.push({ atMs: Date.now(), answers, sinks });
  state.samples.splice(0, Math.max(0, state.samples.length - MOST_SAMPLES));
  tell("status");
}

// Rates per second as times and values in turns; `count` gets a counter of a sample.
export function rates(count) {
  const numbers = [];
  for (let index = 1; index < state.samples.length; index += 1) {
    const [before, after] = [state.samples[index - 1], state.samples[index]];
    const seconds = (after.atMs - before.atMs) / 1000;
    const more = (count(after) ?? 0) - (count(before) ?? 0);
    if (seconds > 0) numbers.push(after.atMs / 1000, Math.max(0, more) / seconds);
  }
  return numbers;
}

// The last numbers of points, of those that are not known yet.
export async function loadRecent(names) {
  const missing = names.filter((name) => !state.recent.has(name)).slice(0, 100);
  if (missing.length === 0) return;
  const query = new URLSearchParams(missing.map((name) => ["point", name]));
  const found = await ask(`/api/recent?${query}`);
  for (const name of missing) state.recent.set(name, found[name] ?? []);
}
