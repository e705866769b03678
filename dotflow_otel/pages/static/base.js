// Elements, texts and times: what every part of the page is made of.

const SVG = "http://www.w3.org/2000/svg";

// Text is only ever put in as text: markup in a name stays what it is, characters.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const event of Object.keys(value)) made.addEventListener(event, value[event]);
    else if (name === "style") for (const key of Object.keys(value)) made.style.setProperty(key, value[key]);
    else if (name === "href") made.setAttribute("href", safeAddress(value));
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  put(made, ...children);
  return made;
}

function put(parent, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) parent.append(child);
  }
  return parent;
}

function replace(parent, ...children) {
  parent.replaceChildren();
  return put(parent, ...children);
}

// Where a link may lead: to this page's own places, and to web pages.
function safeAddress(address) {
  try {
    const found = new URL(address, location.href);
    if (["http:", "https:"].includes(found.protocol) || address.startsWith("#")) return address;
  } catch {
    // No address at all.
  }
  return "#";
}

// Characters that show nothing, or turn the direction of what follows, are shown by their numbers.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

function visible(text) {
  return String(text).replace(HIDDEN, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function onOneLine(text, most = 300) {
  const line = visible(String(text).slice(0, most + 1).replace(/\s*\n\s*/g, " ⏎ "));
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

// A name that may be in any script: what stands beside it keeps its place.
function nameOf(text, most) {
  return element("bdi", { title: text.length > 40 ? onOneLine(text, 600) : null }, onOneLine(text, most));
}

function debounced(call, milliseconds) {
  let waiting;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => call(...given), milliseconds);
  };
}

// Once for each picture that the browser draws, however often it is asked for.
function drawnOnce(draw) {
  let asked = 0;
  return () => {
    if (!asked) asked = requestAnimationFrame(() => { asked = 0; draw(); });
  };
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

// --- times ----------------------------------------------------------------------------------

// Nanoseconds as people say them, three digits long.
function took(nanoseconds) {
  const value = Math.abs(nanoseconds);
  const sign = nanoseconds < 0 ? "−" : "";
  if (value < 0.5) return "0 s";
  if (value < 1e3) return `${sign}${Math.round(value)} ns`;
  if (value < 999.5e3) return `${sign}${digits(value / 1e3)} µs`;
  if (value < 999.5e6) return `${sign}${digits(value / 1e6)} ms`;
  if (value < 59.95e9) return `${sign}${digits(value / 1e9)} s`;
  const seconds = Math.round(value / 1e9);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  if (hours >= 48) return `${sign}${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
  if (hours) return `${sign}${hours} h ${two(minutes)} min`;
  return `${sign}${minutes} min ${two(seconds % 60)} s`;
}

function digits(value) {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

function moment(milliseconds) {
  const at = new Date(milliseconds);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const text = `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return element("time", { datetime: at.toISOString(), title: at.toISOString() }, text);
}

// --- signs ----------------------------------------------------------------------------------

const SIGNS = {
  completed: "M3.5 8.5 6.6 11.5 12.5 5",
  failed: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  running: "M8 3a5 5 0 1 0 5 5",
  lost: "M5.8 6.2a2.3 2.3 0 1 1 3.4 2c-.8.5-1.2.9-1.2 1.8M8 12.6v.1",
  restored: "M4 8a4.2 4.2 0 1 0 1.6-3.3M4.4 2.8v2.8h2.8",
  skipped: "M4 8h8",
  retried: "M12 8a4.2 4.2 0 1 1-1.6-3.3M11.6 2.8v2.8H8.8",
  closed: "M6 4l4 4-4 4",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.5 10.5 14 14",
  in: "M8 3.5v9M3.5 8h9",
  out: "M3.5 8h9",
  fit: "M2.5 8h11M5 5.5 2.5 8 5 10.5M11 5.5 13.5 8 11 10.5",
  close: "M4 4l8 8M12 4l-8 8",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  keys: "M2 4.5h12v7H2zM4.5 7h.1M8 7h.1M11.5 7h.1M5.5 9.3h5",
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  out_link: "M6.5 3.5h-3v9h9v-3M9 3h4v4M13 3 7.5 8.5",
};

function sign(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `sign sign-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SIGNS[name] ?? SIGNS.skipped);
  svg.append(path);
  return svg;
}

// A status is told by its form and by its word, not by colour alone.
function statusSign(status) {
  return element("span", { class: "status", "data-status": status }, sign(status),
    element("span", { class: "unseen" }, status));
}

function statusBadge(status) {
  return element("span", { class: "status badge", "data-status": status }, sign(status), status);
}

function button(label, name, call, properties = {}) {
  const shown = properties.text ? [sign(name), element("span", { class: "label" }, properties.text)] : sign(name);
  return element("button", {
    type: "button", class: "button", "aria-label": label, title: label, ...properties, text: null,
    on: { click: call },
  }, shown);
}

// --- light and dark ---------------------------------------------------------------------------

const THEME = "dotflow-theme";
const darkWanted = matchMedia("(prefers-color-scheme: dark)");
const themeListeners = [];

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;  // a page that may not keep anything
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // It holds until the page is left.
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : darkWanted.matches;
}

function themeButton() {
  const chosen = remembered(THEME);
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  const made = button("", "theme", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    remember(THEME, document.documentElement.dataset.theme);
    changed();
  }, { id: "theme" });
  function changed() {
    const label = isDark() ? "Light colours" : "Dark colours";
    made.setAttribute("aria-label", label);
    made.title = label;
    for (const listener of themeListeners) listener();
  }
  darkWanted.addEventListener("change", changed);
  changed();
  return made;
}

// The colours that canvases draw with, as the style sheet has them now.
function colourOf(name) {
  const probe = element("span", { class: "unseen", style: { color: `var(--${name})` } });
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

// Told to those who do not see the page.
const announcer = element("div", { class: "unseen", role: "status", "aria-live": "polite" });

function announce(text) {
  announcer.textContent = text;
}
