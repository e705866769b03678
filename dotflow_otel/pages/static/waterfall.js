// The spans of a run, each below the one it belongs to, over the time they took.

class Waterfall {
  constructor(run, view, details) {
    Object.assign(this, { run, view, details });
    this.matches = null;
    this.onlyMatches = false;
    this.readout = element("span", { class: "readout" });
    this.list = new VirtualList({ fill: (row, span, place) => this.fill(row, span, place) });
    this.list.element.setAttribute("role", "rowgroup");
    this.axis = null;
    this.element = element("div", {
      class: "waterfall", role: "treegrid", tabindex: 0, "aria-label": "Spans of the run",
      on: { keydown: (event) => this.key(event) },
    });
    this.axis = new Axis(view, this.element);
    const splitter = this.splitter();
    put(this.element,
      element("div", { role: "rowgroup" }, element("div", { role: "row", class: "heading" },
        element("div", { role: "columnheader", class: "cell-name" }, "Span", this.readout),
        element("div", { role: "columnheader", class: "cell-time", "aria-label": "Time" }, this.axis.element))),
      this.list.element, splitter);
    followPointer(view, this.element, this.readout);
    this.list.element.addEventListener("click", (event) => this.click(event));
    // Where the second click lands, the details may have come since the first one; and no browser
    // calls two clicks a double one whose elements are others.
    addEventListener("click", (event) => {
      if (event.detail === 2 && this.clicked && performance.now() - this.clicked.at < 700) this.zoomTo(this.clicked.span);
    });
    const redraw = drawnOnce(() => this.list.refresh());
    view.listeners.push(redraw);
    // Where a text has room, and where the lines are, follows from the width.
    new ResizeObserver(redraw).observe(this.axis.element);
    run.listeners.push(() => this.show());
    this.show();
  }

  show() {
    this.rows = this.run.rows(this.onlyMatches ? this.matches : null);
    this.placeOf = new Map(this.rows.map((span, place) => [span, place]));
    this.isMatch = new Set(this.matches ?? []);
    this.element.setAttribute("aria-rowcount", this.rows.length + 1);
    this.list.show(this.rows);
    this.point();
  }

  // --- a row --------------------------------------------------------------------------------

  fill(row, span, place) {
    const foldable = span.children.length > 0 && !this.onlyMatches;
    const folded = this.run.folded.has(span.id);
    row.id = `span-${span.id}`;
    row.dataset.place = place;
    row.dataset.status = span.status;
    row.dataset.kind = span.kind;
    row.className = [
      "row", span === this.run.selected && "active", this.isMatch.has(span) && "match",
      span.critical && "critical",
    ].filter(Boolean).join(" ");
    row.setAttribute("aria-level", span.depth + 1);
    row.setAttribute("aria-rowindex", place + 2);
    row.setAttribute("aria-selected", span === this.run.selected);
    if (foldable) row.setAttribute("aria-expanded", !folded);
    else row.removeAttribute("aria-expanded");
    put(row, this.nameCell(span, foldable, folded), this.timeCell(span));
  }

  nameCell(span, foldable, folded) {
    const attempts = span.kind === "task" ? attemptsOf(span).length : 0;
    const depth = Math.min(span.depth, 24);
    return element("div", { role: "gridcell", class: "cell-name", style: { "--depth": depth } },
      foldable
        ? element("span", { class: folded ? "fold" : "fold open", "aria-hidden": "true" }, sign("closed"))
        : element("span", { class: "fold", "aria-hidden": "true" }),
      statusSign(span.status),
      element("span", { class: "label" }, nameOf(span.label)),
      span.kind === "task" && this.run.hasGroups ? element("span", { class: "note group" }, nameOf(groupOf(span), 40)) : null,
      attempts > 1 ? element("span", { class: "note", title: `${attempts} attempts` }, sign("retried"), String(attempts)) : null,
      folded && !isPlain(span) ? element("span", { class: "note" }, `+${below(span).toLocaleString("en")}`) : null);
  }

  timeCell(span) {
    const { run, view } = this;
    const end = run.endOf(span);
    const cell = element("div", { role: "gridcell", class: "cell-time" });
    const wait = span.kind === "attempt" ? waited(span) : null;
    const gap = wait && placeOf(view, span.start - wait, span.start);
    if (gap) put(cell, element("div", { class: "gap", title: `waited ${took(wait)} for a worker`, style: across(gap) }));
    const found = placeOf(view, span.start, end);
    if (found && span.status !== "skipped") {
      // A task is as long as its attempts and the waiting for and between them, which is paler.
      const attempts = span.kind === "task" ? attemptsOf(span).slice(0, 100) : [];
      put(cell, element("div", { class: attempts.length ? "bar whole" : "bar", style: across(found) }));
      for (const attempt of attempts) {
        const part = placeOf(view, attempt.start, run.endOf(attempt));
        if (part) put(cell, element("div", { class: "bar", "data-part": attempt.status, style: across(part) }));
      }
      for (const event of (span.events ?? []).slice(0, 100)) {
        const at = view.share(event.time);
        if (at >= 0 && at <= 1 && event.name !== "exception") put(cell, element("div", { class: "event", title: onOneLine(event.name), style: { left: `${at * 100}%` } }));
      }
    }
    return put(cell, this.timeText(span, found, end, gap));
  }

  // Behind the bar, before it and its gap, or in its end: where there is room. Outside of what is seen,
  // at the edge.
  timeText(span, found, end, gap) {
    const text = span.status === "skipped" ? "skipped" : took(this.run.lengthOf(span));
    if (!found) {
      const isBefore = this.view.share(end) < 0;
      return element("span", { class: "took", style: isBefore ? { left: "4px" } : { right: "4px" } }, isBefore ? `← ${text}` : `${text} →`);
    }
    const room = 66 / Math.max(this.axis.element.clientWidth, 1);
    const after = found.left + found.width;
    if (after < 1 - room) return element("span", { class: "took", style: { left: `calc(${after * 100}% + 4px)` } }, text);
    const before = gap ? Math.min(gap.left, found.left) : found.left;
    if (before > room) return element("span", { class: "took", style: { right: `calc(${(1 - before) * 100}% + 4px)` } }, text);
    return element("span", { class: "took inside", style: { right: `calc(${Math.max(1 - after, 0) * 100}% + 5px)` } }, text);
  }

  // --- choosing -----------------------------------------------------------------------------

  spanAt(event) {
    const row = event.target.closest("[role=row]");
    return row ? this.rows[Number(row.dataset.place)] : null;
  }

  click(event) {
    const span = this.spanAt(event);
    if (!span) return;
    const folds = event.target.closest(".fold") && span.children.length > 0;
    if (folds) this.fold(span, !this.run.folded.has(span.id));
    if (event.detail < 2) this.clicked = folds ? null : { span, at: performance.now() };
    this.select(span);
    this.element.focus({ preventScroll: true });
  }

  select(span, opens = true) {
    this.run.selected = span;
    this.run.reveal(span);
    if (!this.placeOf.has(span)) {
      this.onlyMatches = this.onlyMatches && this.isMatch.has(span);
      this.show();
    }
    const place = this.placeOf.get(span);
    if (place !== undefined) this.list.reveal(place);
    this.list.refresh();
    this.point();
    if (opens) this.details.show(span);
  }

  point() {
    const selected = this.run.selected;
    if (selected && this.placeOf.has(selected)) this.element.setAttribute("aria-activedescendant", `span-${selected.id}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  fold(span, folded) {
    if (folded) this.run.folded.add(span.id);
    else this.run.folded.delete(span.id);
    this.show();
  }

  foldAll(folded) {
    this.run.folded.clear();
    if (folded) for (const span of this.run.order) if (span.children.length && span.depth > 0) this.run.folded.add(span.id);
    // What was chosen may be folded away: what is above it is chosen then.
    let selected = this.run.selected;
    while (selected?.above && this.run.folded.has(selected.above.id)) selected = selected.above;
    this.run.selected = selected;
    this.show();
    if (selected) this.list.reveal(this.placeOf.get(selected));
  }

  zoomTo(span) {
    const end = this.run.endOf(span);
    const margin = Math.max((end - span.start) * 0.05, SHORTEST);
    this.view.set(span.start - margin, end + margin);
  }

  search(matches, onlyMatches) {
    this.matches = matches;
    this.onlyMatches = onlyMatches && matches !== null;
    this.show();
  }

  key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const span = this.run.selected;
    const place = this.placeOf.get(span) ?? -1;
    const folded = span && this.run.folded.has(span.id);
    const moves = {
      ArrowDown: place + 1, ArrowUp: place < 0 ? 0 : place - 1, Home: 0, End: this.rows.length - 1,
      PageDown: place + this.list.pageLength, PageUp: place - this.list.pageLength,
    };
    if (event.key in moves) {
      const there = this.rows[Math.min(Math.max(moves[event.key], 0), this.rows.length - 1)];
      if (there) this.select(there, this.details.isOpen);
    } else if (event.key === "ArrowRight" && span) {
      if (folded) this.fold(span, false);
      else if (span.children.length) this.select(span.children[0], this.details.isOpen);
    } else if (event.key === "ArrowLeft" && span) {
      if (span.children.length && !folded && !this.onlyMatches) this.fold(span, true);
      else if (span.above) this.select(span.above, this.details.isOpen);
    } else if ((event.key === "Enter" || event.key === " ") && span) this.details.show(span, true);
    else if (event.key === "f" && span) this.zoomTo(span);
    else if (event.key === "*") this.foldAll(false);
    else if (event.key === "_") this.foldAll(true);
    else if (!zoomedByKey(event, this.view)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- how wide the names are -----------------------------------------------------------------

  splitter() {
    const made = element("div", {
      class: "splitter", role: "separator", tabindex: 0, "aria-orientation": "vertical",
      "aria-label": "Width of the names", "aria-valuemin": 10, "aria-valuemax": 80,
    });
    const set = (share) => {
      const percent = Math.min(Math.max(share * 100, 10), 80);
      this.element.style.setProperty("--names", `${percent}%`);
      made.setAttribute("aria-valuenow", Math.round(percent));
      this.view.changed();
    };
    const now = () => made.offsetLeft / this.element.clientWidth;
    made.setAttribute("aria-valuenow", 34);
    made.addEventListener("pointerdown", (event) => {
      made.setPointerCapture(event.pointerId);
      event.preventDefault();
      event.stopPropagation();
    });
    made.addEventListener("pointermove", (event) => {
      if (!made.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.element.getBoundingClientRect();
      set((event.clientX - left) / width);
    });
    made.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (!by) return;
      set(now() + by);
      event.preventDefault();
      event.stopPropagation();
    });
    return made;
  }
}

function across({ left, width }) {
  return { left: `${left * 100}%`, width: `max(2px, ${width * 100}%)` };
}

function below(span) {
  let count = 0;
  walk(span.children, () => { count += 1; });
  return count;
}

// The keys that all drawings over time know.
function zoomedByKey(event, view) {
  if (event.key === "+" || event.key === "=") view.zoom(0.7);
  else if (event.key === "-") view.zoom(1 / 0.7);
  else if (event.key === "0") view.fit();
  else if (event.key === "[") view.pan(-0.2);
  else if (event.key === "]") view.pan(0.2);
  else return false;
  return true;
}
