// The page's address: tab, filters of the list, the open point or event. So each of them is a link, and the
// browser's back button works.

export function read() {
  const [tab, query] = location.hash.slice(1).split(/\?(.*)/s);
  return { tab, query: new URLSearchParams(query ?? "") };
}

export function addressOf(tab, query) {
  const text = query.toString().replaceAll("%2F", "/");
  return `#${tab || "points"}${text ? `?${text}` : ""}`;
}

// Change parts of the address; an empty one is left out. A step can be undone with the back button.
export function write(changes, { isStep = false } = {}) {
  const { tab, query } = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const address = addressOf(tab, query);
  if (address === location.hash) return;
  if (isStep) {
    location.hash = address;
  } else {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}
