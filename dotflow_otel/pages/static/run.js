// The page of one run.

const KEYS = [
  ["↑ ↓", "the span above, below"],
  ["← →", "fold and unfold, or to the span it belongs to"],
  ["Enter", "its details; Esc closes them"],
  ["/", "search; Enter and Shift+Enter go from match to match"],
  ["+ −", "zoom in and out"],
  ["[ ]", "move left and right"],
  ["f", "zoom to the span"],
  ["0", "the whole run"],
  ["* _", "unfold and fold all"],
  ["1 to 5", "the tabs"],
  ["?", "this list"],
];

class RunPage {
  // `home`: where the list of all runs is, if there is one.
  constructor(given, home = null) {
    this.run = new Run(given, home !== null);
    this.run.foldAtFirst();
    this.home = home;
    // A file tells of the moment in which it was made.
    this.made = home === null ? given.made : null;
    this.view = new View(this.run.extent);
    this.details = new Details(this.run, {
      zoomTo: (span) => { this.tab("waterfall"); this.waterfall.zoomTo(span); this.waterfall.select(span); },
      choose: (span) => this.choose(span),
      linesOf: (span) => { this.lines.limitTo(span); this.tab("lines"); },
    });
    this.waterfall = new Waterfall(this.run, this.view, this.details);
    this.workers = new Workers(this.run, this.view, this.details);
    this.tasks = new Tasks(this.run, this.details);
    this.errors = new Errors(this.run, (span) => this.choose(span));
    this.lines = new Lines(this.run, (line, focuses) => this.details.showLine(line, focuses));
    this.overview = new Overview(this.run, this.view);
    this.panels = {
      waterfall: ["Waterfall", this.waterfall.element, () => this.run.order.length],
      workers: ["Workers", this.workers.element, () => this.workers.lanes.length],
      tasks: ["Tasks", this.tasks.element, () => this.run.tasks.length],
      errors: ["Errors", this.errors.element, () => this.run.allErrors().length],
      lines: ["Logs", this.lines.element, () => this.run.lines.length],
    };
    this.heading = element("div", { class: "run-heading" });
    this.why = element("section", { class: "why card", "aria-label": "What to know of the run" });
    this.keys = this.keysDialog();
    this.element = this.build();
    this.run.listeners.push(() => { this.view.extend(this.run.extent); this.refresh(); });
    this.refresh();
    this.tab("waterfall");
    this.search();
    document.addEventListener("keydown", (event) => this.key(event));
    if (this.run.isRunning && this.run.isLive) this.follow();
  }

  // --- its parts ------------------------------------------------------------------------------

  build() {
    this.tabs = element("div", { class: "tabs", role: "tablist", "aria-label": "Parts of the run" });
    for (const [name, [title]] of Object.entries(this.panels)) {
      this.tabs.append(element("button", {
        type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`,
        on: { click: () => this.tab(name), keydown: (event) => this.tabKey(event) },
      }, title, element("span", { class: "count" })));
    }
    this.box = element("input", {
      type: "search", placeholder: "Search", "aria-label": "Search spans and lines", spellcheck: "false", autocomplete: "off",
      on: { input: debounced(() => this.search(), 80), keydown: (event) => this.boxKey(event) },
    });
    this.found = element("span", { class: "found", role: "status" });
    this.only = element("input", { type: "checkbox", id: "only", on: { change: () => this.search() } });
    this.wrong = element("input", { type: "checkbox", id: "wrong", on: { change: () => this.search() } });
    const tools = element("div", { class: "tools" },
      element("div", { class: "search" }, sign("search"), this.box, this.found,
        button("Previous match", "up", () => this.step(-1)), button("Next match", "down", () => this.step(1))),
      this.checks = element("div", { class: "checks" },
        element("label", { class: "check", for: "only" }, this.only, "Matches only"),
        element("label", { class: "check", for: "wrong" }, this.wrong, "Failed only")),
      this.zoomers = element("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
        button("Zoom out", "out", () => this.view.zoom(1 / 0.6)), button("Zoom in", "in", () => this.view.zoom(0.6)),
        button("The whole run", "fit", () => this.view.fit())));
    const panels = Object.entries(this.panels).map(([name, [, panel]]) => element("div", {
      class: "panel", role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, hidden: true,
    }, panel));
    return element("main", { class: "run" }, this.heading, this.why,
      this.bench = element("div", { class: "bench" },
        element("div", { class: "bar-of-tools top" }, this.tabs, tools),
        this.overview.element,
        element("div", { class: "split" }, panels, this.details.element)),
      this.keys);
  }

  refresh() {
    const { facts, links } = this.run;
    document.title = `${onOneLine(facts.workflow, 60)}: ${facts.status} · dotflow`;
    const shown = [
      [moment(facts.started)],
      [facts.mode],
      ["run ", element("code", {}, facts.id)],
      facts.workflow_id !== facts.id && ["workflow ", element("code", {}, onOneLine(facts.workflow_id, 80))],
      ["trace ", element("code", {}, facts.trace)],
      [nameOf(facts.host, 60), `, process ${facts.pid}`],
      this.made !== null && ["page made ", moment(this.made)],
    ];
    replace(this.heading,
      element("div", { class: "titles" },
        element("h1", {}, element("span", { class: "workflow", dir: "auto" }, onOneLine(facts.workflow, 160)), statusBadge(facts.status)),
        element("p", { class: "facts" }, shown.filter(Boolean).map((parts) => element("span", {}, parts)),
          Object.entries(links).map(([name, address]) => element("a", { class: "link-out", href: address, target: "_blank", rel: "noopener noreferrer" }, name, sign("out_link"))))),
      this.numbers());
    this.refreshWhy();
    for (const [name, [, , count]] of Object.entries(this.panels)) {
      this.tabs.querySelector(`#tab-${name} .count`).textContent = count().toLocaleString("en");
      this.tabs.querySelector(`#tab-${name}`).classList.toggle("alarming", name === "errors" && count() > 0);
    }
  }

  numbers() {
    const { facts } = this.run;
    const waiting = Math.max(facts.tasks - facts.begun - facts.restored - facts.skipped, 0);
    const parts = [
      ["completed", facts.completed], ["failed", facts.failed],
      [facts.status === "lost" ? "lost" : "running", facts.in_flight], ["restored", facts.restored],
      ["skipped", facts.skipped], ["waiting", facts.ended === null ? waiting : 0],
    ].filter(([, count]) => count > 0);
    this.clock = element("dd", {}, took(this.run.now));
    const number = (name, ...value) => element("div", {}, element("dt", {}, name[0].toUpperCase() + name.slice(1)), value[0] instanceof Element ? value[0] : element("dd", {}, value));
    return element("div", { class: "numbers" },
      element("dl", {},
        number({ lost: "Lost after", running: "Running for" }[facts.status] ?? "Took", this.clock),
        number("Tasks", facts.tasks.toLocaleString("en")),
        parts.map(([name, count]) => number(name, element("dd", { class: "status", "data-status": name }, sign(name), count.toLocaleString("en")))),
        facts.retried ? number("Retries", element("dd", { class: "status", "data-status": "retried" }, sign("retried"), facts.retried.toLocaleString("en"))) : null),
      element("div", { class: "share", role: "img", "aria-label": parts.map(([name, count]) => `${count} ${name}`).join(", ") },
        parts.map(([name, count]) => element("span", { "data-status": name, style: { "flex-grow": count } }))));
  }

  refreshWhy() {
    const told = this.run.analysis.why ?? [];
    this.why.hidden = !told.length;
    replace(this.why, told.map((part) => element("div", { class: "reason" }, element("h2", {}, part.title),
      part.lines.length ? element("ul", {}, part.lines.map((line) => element("li", { dir: "auto", class: line.depth ? "below" : null }, line.span && this.run.spans.has(line.span)
        ? element("button", { type: "button", class: "link", on: { click: () => this.choose(this.run.spans.get(line.span)) } }, visible(line.text))
        : visible(line.text)))) : null)));
  }

  // --- going about ----------------------------------------------------------------------------

  // Chosen by a key, what is in it takes the keys that follow.
  tab(name, enters = false) {
    this.current = name;
    for (const each of Object.keys(this.panels)) {
      const tab = this.tabs.querySelector(`#tab-${each}`);
      tab.setAttribute("aria-selected", each === name);
      tab.tabIndex = each === name ? 0 : -1;
      this.element.querySelector(`#panel-${each}`).hidden = each !== name;
    }
    const overTime = name === "waterfall" || name === "workers";
    this.overview.element.hidden = !overTime;
    this.zoomers.hidden = !overTime;
    this.checks.hidden = name !== "waterfall" && name !== "tasks";
    this.search();
    if (enters) this.element.querySelector(`#panel-${name} [tabindex="0"]`).focus();
  }

  tabKey(event) {
    const names = Object.keys(this.panels);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const place = event.key === "Home" ? 0 : event.key === "End" ? names.length - 1 : names.indexOf(this.current) + (by ?? NaN);
    if (Number.isNaN(place)) return;
    const name = names[(place + names.length) % names.length];
    this.tab(name);
    this.tabs.querySelector(`#tab-${name}`).focus();
    event.preventDefault();
  }

  choose(span) {
    if (this.current !== "waterfall") this.tab("waterfall");
    const end = this.run.endOf(span);
    if (end < this.view.from || span.start > this.view.to) this.waterfall.zoomTo(span);
    // In a low window the rows may be below its edge.
    this.bench.scrollIntoView({ block: "nearest" });
    this.waterfall.select(span);
  }

  search() {
    const words = this.box.value.trim();
    const named = words ? this.run.find(words) : null;
    const wrong = this.wrong.checked ? [...this.run.ofStatus.failed, ...this.run.ofStatus.lost] : null;
    const both = named && wrong ? named.filter((span) => wrong.includes(span)) : named ?? wrong;
    this.matches = both;
    this.lines.search(words);
    this.waterfall.search(both, this.only.checked || this.wrong.checked);
    this.tasks.search(both);
    this.told();
  }

  told() {
    if (!this.matches || this.current === "lines") this.found.textContent = "";
    else {
      const at = this.matches.indexOf(this.run.selected);
      this.found.textContent = !this.matches.length ? "none" : at >= 0 ? `${at + 1} of ${this.matches.length}` : this.matches.length.toLocaleString("en");
    }
  }

  // From match to match, in the order of the rows.
  step(by) {
    if (!this.matches?.length) return;
    const at = this.matches.indexOf(this.run.selected);
    const next = at < 0 ? (by > 0 ? 0 : this.matches.length - 1) : (at + by + this.matches.length) % this.matches.length;
    this.choose(this.matches[next]);
    this.told();
  }

  boxKey(event) {
    if (event.key === "Enter") {
      if (this.box.value.trim() && this.matches === null) this.search();
      this.step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      if (this.box.value) { this.box.value = ""; this.search(); } else this.waterfall.element.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.keys.open) return;
    if (event.target.closest("input, select, textarea")) return;
    const place = Number(event.key) - 1;
    if (event.key === "/") this.box.focus();
    else if (event.key === "?") this.keys.showModal();
    else if (event.key === "Escape" && this.details.isOpen) this.details.close();
    else if (place >= 0 && place < 5) this.tab(Object.keys(this.panels)[place], true);
    else if (!this.overview.element.hidden && zoomedByKey(event, this.view)) ;
    else return;
    event.preventDefault();
  }

  keysDialog() {
    const made = element("dialog", { class: "keys", "aria-label": "Keys" }, element("h2", {}, "Keys"),
      element("dl", {}, KEYS.map(([keys, text]) => [element("dt", {}, keys.split(" ").map((key) => (key === "to" ? " to " : element("kbd", {}, key)))), element("dd", {}, text)])),
      element("p", { class: "faint" }, "Drag over the time to zoom in, or double-click a span; Ctrl and the wheel zoom, Shift and the wheel move."),
      element("button", { type: "button", class: "button", on: { click: () => made.close() } }, "Close"));
    made.addEventListener("click", (event) => { if (event.target === made) made.close(); });
    return made;
  }

  // --- a run that goes on -----------------------------------------------------------------------

  // The bars that are open grow, and the clock goes on.
  follow() {
    const timer = setInterval(() => {
      if (!this.run.isRunning) {
        clearInterval(timer);
        return;
      }
      this.clock.textContent = took(this.run.now);
      this.run.extent = [this.run.extent[0], Math.max(this.run.now, this.run.extent[1])];
      this.view.extend(this.run.extent);
      this.overview.draw();
    }, 500);
  }

  // What was reckoned of the run comes after the rest of it.
  learn(analysis) {
    this.run.learn(analysis);
    this.search();
  }

  // What the server tells of the run: a part of it, or all of it anew.
  take(told) {
    if (told.part && !told.format) this.run.absorb(told.part, told.run);
    else {
      const was = this.run.facts.status;
      this.run.take(told);
      if (was !== told.run.status) announce(`The run is ${told.run.status}.`);
    }
    this.search();
  }
}
