// A run's tasks, errors and lines.

const LEVELS = [[50, "critical"], [40, "error"], [30, "warning"], [20, "info"], [10, "debug"]];

function levelOf(number) {
  return (LEVELS.find(([least]) => number >= least) ?? [0, "debug"])[1];
}

// --- tasks ------------------------------------------------------------------------------------

// How long a task took beside the runs before: a band as wide as their spread on both sides of
// their median, and this run's as a point. `past` has seconds.
function pastDrawing(past, now) {
  const [width, seconds] = [96, now / 1e9];
  const spread = Math.max(past.spread, past.median * 0.02);
  const [least, most] = [Math.min(seconds, past.median - 4 * spread, 0), Math.max(seconds, past.median + 4 * spread)];
  const x = (value) => 5 + ((value - least) / (most - least || 1)) * (width - 10);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} 16`);
  svg.setAttribute("class", `past${past.unusual ? " unusual" : ""}`);
  svg.setAttribute("aria-hidden", "true");
  const add = (tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    svg.append(made);
  };
  add("line", { x1: 3, x2: width - 3, y1: 8, y2: 8, class: "base" });
  const [from, to] = [x(past.median - spread), x(past.median + spread)];
  add("rect", { x: from, width: Math.max(to - from, 2), y: 4, height: 8, rx: 2, class: "band" });
  add("line", { x1: x(past.median), x2: x(past.median), y1: 2, y2: 14, class: "median" });
  add("circle", { cx: x(seconds), cy: 8, r: 3.5, class: "this" });
  return svg;
}

function pastText(past, now) {
  if (!past.median) return "";
  const ratio = now / 1e9 / past.median;
  return ratio >= 10 ? `${Math.round(ratio)}×` : `${ratio.toFixed(2)}×`;
}

function pastSentence(past, now) {
  return `${took(now)} here; in ${plural(past.values, "run")} before the median was ${took(past.median * 1e9)}, the spread ${took(past.spread * 1e9)}`;
}

class Tasks {
  constructor(run, details) {
    Object.assign(this, { run, details });
    const past = (task) => run.figuresOf(task).past;
    const length = (task) => (task.status === "skipped" ? null : run.lengthOf(task));
    const waitOf = (task) => attemptsOf(task).reduce((sum, each) => sum + (waited(each) ?? 0), 0);
    const ratio = (task) => (past(task)?.median ? length(task) / 1e9 / past(task).median : null);
    const columns = [
      { name: "status", title: "Status", width: "7.5rem", by: (task) => task.status, fill: (task) => statusBadge(task.status) },
      { name: "task", title: "Task", width: "minmax(9rem, 3fr)", by: (task) => task.label, fill: (task) => nameOf(task.label) },
      { name: "group", title: "Group", width: "minmax(4rem, 1fr)", by: groupOf, fill: (task) => nameOf(groupOf(task)) },
      { name: "start", title: "Start", width: "6rem", by: (task) => task.start, fill: (task) => took(task.start) },
      { name: "took", title: "Took", width: "6rem", first: -1, by: length, fill: (task) => (length(task) === null ? "" : took(length(task))) },
      { name: "waited", title: "Waited", width: "6rem", first: -1, by: waitOf, fill: (task) => (waitOf(task) ? took(waitOf(task)) : "") },
      { name: "attempts", title: "Attempts", width: "5.5rem", first: -1, by: (task) => attemptsOf(task).length || 1, fill: (task) => (task.status === "skipped" || task.status === "restored" ? "" : String(attemptsOf(task).length || 1)) },
      {
        name: "past", title: "Beside the last runs", width: "11rem", first: -1, by: ratio,
        fill: (task) => past(task) && [pastDrawing(past(task), length(task)), element("span", {
          class: past(task).unusual ? "ratio unusual" : "ratio",
          title: pastSentence(past(task), length(task)),
        }, pastText(past(task), length(task)))],
      },
    ];
    this.table = new Table({
      label: "Tasks of the run", columns, height: 28, empty: "No task has begun.",
      open: (task, event) => { run.selected = task; details.show(task, Boolean(event)); },
    });
    this.element = this.table.element;
    this.matches = null;
    run.listeners.push(() => this.show());
    this.show();
  }

  search(matches) {
    this.matches = matches;
    this.show();
  }

  show() {
    const wanted = this.matches && new Set(this.matches.map((span) => span.task ?? span));
    this.table.show(wanted ? this.run.tasks.filter((task) => wanted.has(task)) : this.run.tasks);
  }
}

// --- errors -----------------------------------------------------------------------------------

const ERRORS_AT_ONCE = 50;

class Errors {
  constructor(run, choose) {
    Object.assign(this, { run, choose });
    this.element = element("div", { class: "errors", tabindex: 0, role: "region", "aria-label": "Errors of the run" });
    this.count = ERRORS_AT_ONCE;
    this.opened = new Set();
    run.listeners.push(() => this.show());
    this.show();
  }

  show() {
    const errors = this.run.allErrors();
    if (!errors.length) {
      replace(this.element, element("p", { class: "none" }, "No error was recorded."));
      return;
    }
    const shown = errors.slice(0, this.count);
    const rest = errors.length - shown.length;
    replace(this.element, shown.map((error, place) => this.card(error, place)), rest ? element("button", {
      type: "button", class: "button wide", on: { click: () => { this.count += 200; this.show(); } },
    }, `Show ${plural(Math.min(rest, 200), "more error", "more errors")} of ${rest.toLocaleString("en")}`) : null);
  }

  card(error, place) {
    const spans = error.spans.slice(0, 8);
    const more = error.spans.length - spans.length;
    return element("article", { class: "card error" },
      element("h3", {}, statusSign(error.status), element("span", { class: "type" }, onOneLine(error.type || error.status)),
        error.spans.length > 1 ? element("span", { class: "note" }, `× ${error.spans.length.toLocaleString("en")}`) : null),
      error.message ? element("p", { class: "message", dir: "auto" }, visible(error.message)) : null,
      element("p", { class: "where" }, "in ", spans.map((span) => [this.link(span), " "]), more > 0 ? `and ${more.toLocaleString("en")} more` : null),
      error.stack ? stackTrace(error.stack, place < 3) : null);
  }

  link(span) {
    const label = span.task && span.task !== span ? `${span.task.label} · ${span.label}` : span.label;
    return element("button", { type: "button", class: "link", on: { click: () => this.choose(span) } }, nameOf(label, 120));
  }
}

function stackTrace(text, opened) {
  const shown = visible(text).trimEnd();
  return element("details", { class: "stack", open: opened }, element("summary", {}, "Stack trace"),
    element("pre", { tabindex: 0, dir: "ltr", role: "region", "aria-label": "Stack trace" }, shown));
}

// --- lines ------------------------------------------------------------------------------------

function fieldsText(line) {
  if (line.shown === undefined) {
    line.shown = Object.entries(line.fields).map(([name, value]) => `${name}=${shortValue(value)}`).join("  ");
  }
  return line.shown;
}

function shortValue(value) {
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : shownValue(value);
}

class Lines {
  constructor(run, choose) {
    Object.assign(this, { run, choose });
    this.least = 0;
    this.only = null;
    this.words = "";
    const columns = [
      { name: "time", title: "Time", width: "6.5rem", fill: (line) => took(line.time) },
      { name: "level", title: "Level", width: "5.5rem", fill: (line) => element("span", { class: "level", "data-level": levelOf(line.level) }, levelOf(line.level)) },
      { name: "of", title: "Of", width: "minmax(6rem, 1fr)", fill: (line) => nameOf(this.placeOf(line), 80) },
      {
        name: "message", title: "Message", width: "minmax(12rem, 4fr)",
        fill: (line) => [element("bdi", { class: "event-name", title: line.event.length > 40 ? onOneLine(line.event, 600) : null }, onOneLine(line.event)),
          element("bdi", { class: "faint" }, ` ${onOneLine(fieldsText(line))}`)],
      },
    ];
    this.table = new Table({
      label: "Log lines of the run", columns, empty: "No line was recorded.",
      rowProperties: (line) => ({ "data-level": levelOf(line.level) }),
      open: (line, event) => this.choose(line, Boolean(event)),
    });
    this.level = element("select", { "aria-label": "Least level", on: { change: () => { this.least = Number(this.level.value); this.show(); } } },
      element("option", { value: 0 }, "All levels"), [20, 30, 40].map((least) => element("option", { value: least }, `${levelOf(least)} and above`)));
    this.chip = element("span", { class: "chip", hidden: true });
    this.counted = element("span", { class: "faint", "aria-live": "polite" });
    this.element = element("div", { class: "lines" }, element("div", { class: "bar-of-tools" }, this.level, this.chip, this.counted), this.table.element);
    run.listeners.push(() => this.show());
    this.show();
  }

  placeOf(line) {
    if (!line.of) return line.task ?? "";
    return line.of.task && line.of.task !== line.of ? line.of.task.label : line.of.label;
  }

  // Only the lines of a span, and of those below it.
  limitTo(span) {
    this.only = span;
    this.show();
  }

  search(words) {
    this.words = words.toLowerCase();
    this.show();
  }

  show() {
    const atEnd = this.isAtEnd();
    this.only = this.only && (this.run.spans.get(this.only.id) ?? null);
    const wanted = this.words.split(/\s+/).filter(Boolean);
    const within = this.only && new Set();
    if (within) walk([this.only], (span) => within.add(span));
    const shown = this.run.lines.filter((line) => {
      if (line.level < this.least || (within && !within.has(line.of))) return false;
      if (!wanted.length) return true;
      line.text ??= `${line.event}\n${line.task ?? ""}\n${fieldsText(line)}\n${line.stack ?? ""}`.toLowerCase();
      return wanted.every((word) => line.text.includes(word));
    });
    this.chip.hidden = !this.only;
    if (this.only) {
      replace(this.chip, "of ", nameOf(this.only.label, 40), button("Show the lines of all spans", "close", () => this.limitTo(null)));
    }
    this.counted.textContent = shown.length === this.run.lines.length ? plural(shown.length, "line") : `${shown.length.toLocaleString("en")} of ${plural(this.run.lines.length, "line")}`;
    this.table.show(shown);
    // Who reads the latest of a run that goes on goes on reading the latest.
    if (atEnd && this.run.isRunning) this.table.list.element.scrollTop = this.table.list.element.scrollHeight;
  }

  isAtEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.table.list.element;
    return scrollTop > 0 && scrollTop + clientHeight >= scrollHeight - 4;
  }
}
