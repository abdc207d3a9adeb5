// The page's state: the points, what they show, and the gateway's status. Views subscribe to changes with `when`.

const MOST_REMEMBERED = 48;
const MOST_SAMPLES = 120; // of the status, one a second
const LEAST_APART_MS = 500; // of samples: an event between two closer ones would look like many a second
const SILENT_AFTER_MS = 10_000; // a status comes every second
const ANSWER_WITHIN_MS = 60_000;
const NO_ANSWER = "The gateway does not answer";

export const state = {
  points: [], // as /api/points describes them; a point's number is its place
  shown: [], // by number: {value, quality, timeMs, event}
  recent: new Map(), // by point's name: times and values in turns
  status: null,
  samples: [], // of counters, for rates: {atMs, answers, sinks}
  isConnected: false,
  reason: null, // why it is not connected; null until that is known
  aheadMs: 0, // by how much the gateway's clock is ahead of the browser's
};

// The time by the gateway's clock, which dates readings: a browser's clock may be wrong.
export const nowMs = () => Date.now() + state.aheadMs;

const listeners = new Map();

export function when(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

function publish(name, detail) {
  for (const listener of listeners.get(name) ?? []) listener(detail);
}

// Whether the point is a pseudo-point, such as $age or $quality.
export const isMade = (point) => /^\$[a-z]+$/.test(point.from);

// Whether the point is computed from others, such as `$mean of L03-*/ZN-T`.
export const isComputed = (point) => /^\$[a-z]+ /.test(point.from);

export async function ask(path, options) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS), ...options });
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error ?? `${answer.status}`);
  return document;
}

let stream = null;
let messageMs = 0; // when the last message came, by the browser's clock
let waiting = []; // values that came before their points; null once the points are here
let loads = 0;

// Connect, and again whenever no message came for some time: a connection may be dead without an error,
// and a browser does not try again by itself if it was refused.
export function connect() {
  openStream();
  setInterval(() => {
    if (Math.abs(Date.now() - messageMs) < SILENT_AFTER_MS) return;
    lose(state.reason ?? NO_ANSWER);
    openStream();
  }, 1000);
}

function openStream() {
  messageMs = Date.now();
  const opened = new EventSource("/api/stream");
  stream = opened;
  const subscribe = (name, handle) => opened.addEventListener(name, (event) => {
    if (opened !== stream) return;
    messageMs = Date.now();
    handle(JSON.parse(event.data));
  });
  subscribe("tables", loadPoints);
  subscribe("values", (rows) => (waiting === null ? applyValues(rows) : waiting.push(rows)));
  subscribe("status", applyStatus);
  subscribe("alive", () => {});
  opened.addEventListener("error", () => {
    if (opened !== stream) return;
    setConnected(false, NO_ANSWER);
    if (opened.readyState === EventSource.CLOSED) askWhy();
  });
}

function lose(reason) {
  stream.close();
  loads += 1; // what is being loaded is out of date
  setConnected(false, reason);
}

// Request the stream once more, for the reason of a refusal, which the browser does not pass on.
async function askWhy() {
  const enough = new AbortController();
  const refused = stream;
  try {
    const answer = await fetch("/api/stream", { signal: enough.signal });
    const reason = answer.ok ? NO_ANSWER : (await answer.json()).error;
    if (refused === stream) setConnected(false, reason);
  } catch {
    // the gateway is gone, which the page shows already
  } finally {
    enough.abort();
  }
}

async function loadPoints(generation) {
  loads += 1;
  const load = loads;
  waiting = [];
  let described;
  try {
    described = await ask("/api/points");
  } catch (error) {
    if (load === loads) lose(`The points can't be loaded: ${error.message}`);
    return;
  }
  // If other tables came into force meanwhile, their message comes next: numbers mean other points in them.
  if (load !== loads || described.generation !== generation) return;
  applyPoints(described.points);
  const late = waiting;
  waiting = null;
  late.forEach(applyValues);
  setConnected(true, null);
}

function setConnected(isConnected, reason) {
  state.isConnected = isConnected;
  state.reason = reason;
  publish("connection");
}

function applyPoints(points) {
  state.points = points;
  state.shown = new Array(points.length).fill(null);
  state.recent.clear(); // it lacks what came while the page was not connected
  publish("points");
}

function applyValues(rows) {
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
  publish("values", changed);
}

function applyStatus(status) {
  state.status = status;
  state.aheadMs = status.now_ms - Date.now();
  const answers = status.source?.messages ?? Object.values(status.intake.answers).reduce((sum, count) => sum + count, 0);
  const sinks = Object.fromEntries(Object.entries(status.sinks).map(([name, sink]) => [name, sink.written]));
  const sinceMs = status.now_ms - (state.samples.at(-1)?.atMs ?? -Infinity);
  if (sinceMs < 0) state.samples = []; // the clock was set back
  if (sinceMs < 0 || sinceMs >= LEAST_APART_MS) state.samples.push({ atMs: status.now_ms, answers, sinks });
  state.samples.splice(0, Math.max(0, state.samples.length - MOST_SAMPLES));
  publish("status");
}

// Rates per second as times and values in turns; `count` gets a counter of a sample.
export function rates(count) {
  const numbers = [];
  for (let index = 1; index < state.samples.length; index += 1) {
    const [before, after] = [state.samples[index - 1], state.samples[index]];
    const seconds = (after.atMs - before.atMs) / 1000;
    const more = (count(after) ?? 0) - (count(before) ?? 0);
    numbers.push(after.atMs / 1000, Math.max(0, more) / seconds);
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
