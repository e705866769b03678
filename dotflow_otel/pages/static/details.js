// All that is known of one span, or of one line.

const LINES_OF_SPAN = 100;

class Details {
  // `go` leads to other parts of the page: `zoomTo(span)`, `choose(span)`, `linesOf(span)`.
  constructor(run, go) {
    Object.assign(this, { run, go });
    this.span = null;
    this.line = null;
    this.before = null;
    this.element = element("aside", {
      class: "details", hidden: true, tabindex: -1, "aria-label": "Details",
      on: { keydown: (event) => { if (event.key === "Escape") { this.close(); event.stopPropagation(); } } },
    });
    run.listeners.push(() => this.again());
  }

  get isOpen() {
    return !this.element.hidden;
  }

  show(span, focuses = false) {
    this.open(span, null, focuses);
  }

  showLine(line, focuses = false) {
    this.open(line.of, line, focuses);
  }

  open(span, line, focuses) {
    if (!this.element.contains(document.activeElement)) this.before = document.activeElement;
    [this.span, this.line] = [span, line];
    this.element.hidden = false;
    this.draw();
    this.element.scrollTop = 0;
    if (focuses) this.element.focus();
  }

  // The run has gone on: the same span, with what is known of it now.
  again() {
    if (!this.isOpen || this.line) return;
    this.span = this.run.spans.get(this.span?.id) ?? null;
    if (!this.span) this.close();
    else if (!this.element.contains(document.activeElement)) this.draw();
  }

  close() {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.hidden = true;
    if (hadFocus) this.before?.focus();
  }

  draw() {
    replace(this.element,
      this.line ? this.lineParts(this.line) : null,
      this.span ? this.spanParts(this.span) : null);
    if (!this.element.querySelector("header")) this.element.prepend(this.header("Line", null));
  }

  header(text, mark) {
    return element("header", {}, element("h2", { dir: "auto" }, mark, element("span", { class: "whole-name" }, visible(text))),
      button("Close the details", "close", () => this.close(), { class: "button close" }));
  }

  lineParts(line) {
    const rows = [["level", levelOf(line.level)], ["time", took(line.time)], ...Object.entries(line.fields)];
    return [this.header(line.event, element("span", { class: "level", "data-level": levelOf(line.level) }, levelOf(line.level))),
      definitions(rows), line.stack ? stackTrace(line.stack, true) : null];
  }

  spanParts(span) {
    const { run } = this;
    const end = run.endOf(span);
    const { queue } = run.figuresOf(span);
    const wait = waited(span) ?? (queue ? queue * 1e9 : null);
    const share = Math.round(((end - span.start) / Math.max(run.extent[1] - run.extent[0], 1)) * 100);
    const facts = [
      ["took", span.status === "skipped" ? "did not run" : `${took(run.lengthOf(span))}${span.end === null ? (run.isRunning ? " so far" : " until the last heartbeat") : ""}, ${share} % of the run`],
      ["started", `${took(span.start)} after the run`],
      wait !== null && ["waited", `${took(wait)} for a worker`],
      span.critical && ["critical path", "yes: the run would have been shorter without it"],
    ].filter(Boolean);
    return [
      this.line ? element("h3", { class: "of-span" }, "Of ", this.chooser(span)) : this.header(span.label, statusSign(span.status)),
      element("p", { class: "kind" }, onOneLine(kindOf(span)), span.task && span.task !== span ? [" of ", this.chooser(span.task)] : null, " · ", statusBadge(span.status)),
      span.status === "skipped" ? null : element("div", { class: "actions" },
        button("Zoom to this span", "fit", () => this.go.zoomTo(span), { text: "Zoom to it" }),
        span.lines.length || span.children.length ? button("Show the lines of this span", "down", () => this.go.linesOf(span), { text: "Its lines" }) : null),
      definitions(facts),
      this.errorPart(span), this.attemptsPart(span), this.pastPart(span),
      this.linesPart(span), this.eventsPart(span), this.linksPart(span), this.attributesPart(span),
    ];
  }

  chooser(span) {
    return element("button", { type: "button", class: "link", on: { click: () => this.go.choose(span) } }, nameOf(span.label, 120));
  }

  errorPart(span) {
    if (span.error === undefined && span.status !== "failed") return null;
    const raised = raisedOf(span);
    return section("Error", element("p", { class: "raised" }, element("strong", { class: "type" }, onOneLine(raised.type)),
      raised.message ? element("span", { class: "message", dir: "auto" }, visible(raised.message)) : null),
    raised.stack ? stackTrace(raised.stack, true) : null);
  }

  attemptsPart(span) {
    const attempts = attemptsOf(span);
    if (!attempts.length) return null;
    const rows = attempts.map((each) => element("tr", {},
      element("td", {}, statusSign(each.status), " ", this.chooser(each)),
      element("td", { class: "number" }, took(this.run.endOf(each) - each.start)),
      element("td", { class: "number" }, waited(each) === null ? "" : took(waited(each))),
      element("td", {}, String(each.attributes["process.pid"] ?? ""))));
    return section("Attempts", element("table", { class: "small" }, element("thead", {}, element("tr", {},
      ["Attempt", "Took", "Waited", "Process"].map((title, place) => element("th", { scope: "col", class: place === 1 || place === 2 ? "number" : null }, title)))),
    element("tbody", {}, rows)));
  }

  pastPart(span) {
    const { past } = this.run.figuresOf(span);
    if (!past) return null;
    const now = this.run.lengthOf(span);
    return section("Beside the last runs", element("div", { class: "past-row" }, pastDrawing(past, now), element("span", { class: past.unusual ? "ratio unusual" : "ratio" }, pastText(past, now))),
      element("p", { class: "faint" }, `${pastSentence(past, now)}.`));
  }

  linesPart(span) {
    const found = [];
    walk([span], (each) => found.push(...each.lines));
    if (!found.length) return null;
    found.sort((one, other) => one.time - other.time);
    const shown = found.slice(0, LINES_OF_SPAN);
    return section(`Lines (${found.length.toLocaleString("en")})`, element("ol", { class: "lines-of-span" }, shown.map((line) => element("li", { "data-level": levelOf(line.level) },
      element("span", { class: "number" }, took(line.time)), element("span", { class: "level", "data-level": levelOf(line.level) }, levelOf(line.level)),
      element("span", { dir: "auto" }, onOneLine(line.event, 400), " ", element("span", { class: "faint" }, onOneLine(fieldsText(line), 200)))))),
    found.length > shown.length ? element("button", { type: "button", class: "link", on: { click: () => this.go.linesOf(span) } }, "Show all") : null);
  }

  eventsPart(span) {
    const events = (span.events ?? []).filter((event) => event.name !== "exception");
    if (!events.length) return null;
    return section("Events", events.slice(0, 100).map((event) => [
      element("p", { class: "event-heading" }, element("bdi", {}, onOneLine(event.name)), " ", element("span", { class: "faint" }, took(event.time))),
      definitions(Object.entries(event.attributes))]));
  }

  linksPart(span) {
    if (!span.links?.length) return null;
    return section("Links", definitions(span.links.map((link) => ["trace, span", `${link.trace}, ${link.span}`])));
  }

  attributesPart(span) {
    const rows = Object.entries(span.attributes);
    if (span.status === "skipped") return null;
    return section("Attributes", definitions([...rows, ["span id", span.id]]));
  }
}

function section(title, ...parts) {
  return element("section", {}, element("h3", {}, title), parts);
}

function definitions(rows) {
  return element("dl", {}, rows.map(([name, value]) => [element("dt", {}, onOneLine(name, 120)), element("dd", { dir: "auto" }, visible(shownValue(value)))]));
}
