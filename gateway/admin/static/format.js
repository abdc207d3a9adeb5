// Numbers and times as people read them.

// A value with all its digits, as receivers get it: a meter's counter has many.
export const valueText = (value) => (value === null || value === undefined ? "–" : String(value));

// Units as people write them; topics, registers and files have them as in the point tables.
const SYMBOLS = new Map(Object.entries({
  degC: "°C", "deg C": "°C", delta_degC: "°C", degF: "°F", "deg F": "°F", delta_degF: "°F", degree: "°", percent: "%", pct: "%",
  ohm: "Ω", kohm: "kΩ", "ug/m3": "µg/m³", um: "µm", uS: "µS", "uS/cm": "µS/cm", "foot**3/minute": "ft³/min", inch_H2O: "inH₂O",
}));
const POWERS = { 2: "²", 3: "³" };

export const unitText = (unit) => SYMBOLS.get(unit) ?? unit?.replace(/\b(mm|cm|m|km|in|ft)([23])\b/g, (_, length, power) => length + POWERS[power]) ?? "";

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export const ago = (atMs, nowMs) => `${span((nowMs - atMs) / 1000)} ago`;

export const counted = (number, thing) => `${number.toLocaleString()} ${thing}${number === 1 ? "" : "s"}`;

export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most).trimEnd()} …` : text);

export const timeText = (atMs) => new Date(atMs).toLocaleString();

export function sizeText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export function registerText(register) {
  const bit = register.bit === null ? "" : `.${register.bit}`;
  const quality = register.shows === "quality" ? " quality" : "";
  return `${register.table} ${register.address}${bit} ${register.type}${quality}`;
}
