// Elements by function calls. Text is always set as text: nothing that a sensor or a person named becomes markup.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export function drawing(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

export const closeButton = () => element("button", { type: "button", className: "quiet", onclick: () => byId("dialog").close() }, "Close");

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Replace what is drawn again and again, except while a mouse button is down on it: the click would be lost.
export function redraw(node, ...children) {
  if (!node.matches(":active")) node.replaceChildren(...children);
}

export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", {}, ...known.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

export const card = (title, ...children) => element("article", { className: "card" }, element("div", { className: "head" }, element("h2", {}, title)), ...children);

export function table(titles, rows, empty) {
  if (rows.length === 0) return element("p", { className: "nothing" }, empty);
  const cell = (value, column) => {
    const isNumber = typeof value === "number";
    return element("td", { role: "cell", "data-title": titles[column], className: isNumber ? "number" : "" }, isNumber ? value.toLocaleString() : value);
  };
  // On a phone each row is a card, which a browser does not treat as a table: the roles say that it is one.
  return element(
    "table",
    { role: "table" },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...titles.map((title) => element("th", { role: "columnheader", scope: "col" }, title)))),
    element("tbody", { role: "rowgroup" }, ...rows.map((row) => element("tr", { role: "row" }, ...row.map(cell)))),
  );
}

// Text of a cell that does not wrap while other cells can.
export const whole = (text) => element("span", { className: "whole" }, text);

export const pill = (text, kind = text) => element("span", { className: `pill ${kind}` }, text);
