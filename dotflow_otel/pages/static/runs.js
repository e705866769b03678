// The list of runs, and two of them side by side.

const TIMES = [["", "Any time"], [3600, "The last hour"], [86400, "The last day"], [604800, "The last week"]];

class RunsPage {
  constructor(given) {
    this.runs = given.runs.map(seenNow);
    this.chosen = new Set();
    const query = new URLSearchParams(location.search);
    this.status = element("select", { "aria-label": "Status" }, ["", "running", "completed", "failed", "lost"].map((status) => element("option", { value: status }, status || "Any status")));
    this.workflow = element("select", { "aria-label": "Workflow" });
    this.since = element("select", { "aria-label": "Started" }, TIMES.map(([seconds, text]) => element("option", { value: seconds }, text)));
    this.box = element("input", { type: "search", placeholder: "Id, workflow, error, host", "aria-label": "Search runs", spellcheck: "false", autocomplete: "off", value: query.get("q") ?? "" });
    this.refreshWorkflows(query.get("workflow") ?? "");
    this.status.value = query.get("status") ?? "";
    this.since.value = query.get("since") ?? "";
    for (const each of [this.status, this.workflow, this.since]) each.addEventListener("change", () => this.filter());
    this.box.addEventListener("input", debounced(() => this.filter(), 80));
    this.compare = element("button", { type: "button", class: "button", disabled: true, on: { click: () => this.goCompare() } }, "Compare two");
    this.counted = element("span", { class: "faint", "aria-live": "polite" });
    this.table = new Table({
      label: "Runs", columns: this.columns(), height: 36, empty: "No run is like that.",
      open: (run) => { location.href = addressOf(run); }, mark: (run) => this.choose(run, !this.chosen.has(run.id)),
    });
    this.element = element("main", { class: "runs" },
      element("div", { class: "bar-of-tools" }, element("h1", {}, "Runs"), element("div", { class: "search" }, sign("search"), this.box), this.workflow, this.status, this.since, this.compare, this.counted),
      this.table.element);
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input, select")) return;
      this.box.focus();
      event.preventDefault();
    });
    this.filter();
    // The clocks of those that go on.
    setInterval(() => { if (this.runs.some((run) => run.status === "running")) this.table.list.refresh(); }, 1000);
  }

  columns() {
    return [
      { name: "choose", title: "", width: "2rem", fill: (run) => this.checkbox(run) },
      { name: "status", title: "Status", width: "6.5rem", by: (run) => run.status, fill: (run) => statusBadge(run.status) },
      { name: "workflow", title: "Workflow", width: "minmax(8rem, 2fr)", by: (run) => run.workflow, fill: (run) => element("a", { href: addressOf(run), tabindex: -1 }, nameOf(run.workflow, 120)) },
      { name: "started", title: "Started", width: "9.5rem", first: -1, by: (run) => run.started, fill: (run) => moment(run.started) },
      { name: "took", title: "Took", width: "5rem", first: -1, by: (run) => lengthOf(run), fill: (run) => took(lengthOf(run)) },
      { name: "tasks", title: "Tasks", width: "minmax(8rem, 1fr)", first: -1, by: (run) => run.tasks, fill: (run) => progress(run) },
      { name: "mode", title: "Mode", width: "7.5rem", by: (run) => run.mode, fill: (run) => run.mode },
      { name: "error", title: "Error", width: "minmax(8rem, 4fr)", by: (run) => run.error ?? null, fill: (run) => element("bdi", { class: "faint", title: run.error ? onOneLine(run.error, 600) : null }, onOneLine(run.error ?? "", 200)) },
      { name: "id", title: "Id", width: "6rem", fill: (run) => element("code", { title: run.id }, `…${run.id.slice(-8)}`) },
    ];
  }

  checkbox(run) {
    return element("input", {
      type: "checkbox", "aria-label": `Compare ${onOneLine(run.workflow, 60)} ${run.id}`, checked: this.chosen.has(run.id),
      on: { change: (event) => this.choose(run, event.target.checked) },
    });
  }

  choose(run, isChosen) {
    if (isChosen) this.chosen.add(run.id);
    else this.chosen.delete(run.id);
    // Of three, the first one chosen goes.
    if (this.chosen.size > 2) this.chosen.delete([...this.chosen][0]);
    this.compare.disabled = this.chosen.size !== 2;
    this.table.list.refresh();
    announce(`${plural(this.chosen.size, "run")} chosen to be compared`);
  }

  refreshWorkflows(chosen) {
    const names = [...new Set(this.runs.map((run) => run.workflow))].sort((one, other) => one.localeCompare(other));
    replace(this.workflow, element("option", { value: "" }, "All workflows"), names.map((name) => element("option", { value: name }, onOneLine(name, 60))));
    this.workflow.value = names.includes(chosen) ? chosen : "";
  }

  filter() {
    const words = this.box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const since = this.since.value ? Date.now() - Number(this.since.value) * 1e3 : 0;
    const shown = this.runs.filter((run) => {
      if (this.status.value && run.status !== this.status.value) return false;
      if (this.workflow.value && run.workflow !== this.workflow.value) return false;
      if (run.started < since) return false;
      if (!words.length) return true;
      const text = [run.id, run.workflow, run.workflow_id, run.trace, run.error ?? "", run.host, run.mode, run.status].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    this.counted.textContent = shown.length === this.runs.length ? plural(shown.length, "run") : `${shown.length.toLocaleString("en")} of ${plural(this.runs.length, "run")}`;
    this.table.show(shown);
    const query = new URLSearchParams();
    for (const [name, value] of [["q", this.box.value], ["workflow", this.workflow.value], ["status", this.status.value], ["since", this.since.value]]) if (value) query.set(name, value);
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  }

  goCompare() {
    const [one, other] = [...this.chosen].map((id) => this.runs.find((run) => run.id === id)).sort((a, b) => a.started - b.started);
    location.href = `/compare?${new URLSearchParams({ a: one.id, b: other.id })}`;
  }

  // What the server tells: the runs that are new or have changed, and all that there are.
  take(told) {
    const known = new Map(this.runs.map((run) => [run.id, run]));
    for (const run of told.runs) known.set(run.id, seenNow(run));
    const kept = told.ids && new Set(told.ids);
    this.runs = [...known.values()].filter((run) => !kept || kept.has(run.id)).sort((one, other) => other.started - one.started);
    this.refreshWorkflows(this.workflow.value);
    this.filter();
  }
}

function addressOf(run) {
  return `/runs/${encodeURIComponent(run.id)}`;
}

function seenNow(run) {
  run.seen = performance.now();
  return run;
}

function lengthOf(run) {
  return run.status === "running" ? run.age + (performance.now() - (run.seen ?? performance.now())) * 1e6 : run.ended ?? run.last;
}

function progress(run) {
  const parts = [["completed", run.completed], ["failed", run.failed], [run.status === "lost" ? "lost" : "running", run.in_flight], ["restored", run.restored], ["skipped", run.skipped]].filter(([, count]) => count);
  const rest = run.tasks - parts.reduce((sum, [, count]) => sum + count, 0);
  const done = run.completed + run.restored;
  return [element("span", { class: "number" }, done === run.tasks ? run.tasks.toLocaleString("en") : `${done.toLocaleString("en")} / ${run.tasks.toLocaleString("en")}`),
    element("span", { class: "share", role: "img", "aria-label": parts.map(([name, count]) => `${count} ${name}`).join(", ") },
      parts.map(([name, count]) => element("span", { "data-status": name, style: { "flex-grow": count } })), rest > 0 ? element("span", { "data-status": "waiting", style: { "flex-grow": rest } }) : null)];
}

// --- two runs ---------------------------------------------------------------------------------

class ComparePage {
  constructor(given) {
    const { before, after, tasks } = given;
    const most = Math.max(...tasks.map((task) => Math.max(task.before ?? 0, task.after ?? 0)), 1);
    const hasGroups = new Set(tasks.map((task) => task.group)).size > 1;
    document.title = "Two runs · dotflow";
    const bars = (task) => element("div", { class: "pair", "aria-hidden": "true" },
      [["before", task.before], ["after", task.after]].map(([name, value]) => element("div", { class: `pair-bar pair-${name}`, style: { width: `${((value ?? 0) / most) * 100}%` } })));
    const shown = (value) => (value === null ? "–" : took(value));
    const difference = (task) => (task.before === null || task.after === null ? null : task.after - task.before);
    this.table = new Table({
      label: "Tasks of both runs", height: 34, empty: "Neither run has a task.",
      sorted: { name: "difference", direction: -1 },
      columns: [
        { name: "task", title: "Task", width: "minmax(8rem, 2fr)", by: (task) => task.name, fill: (task) => [nameOf(task.name, 120), " ", hasGroups ? element("span", { class: "note group" }, nameOf(task.group, 40)) : null, Math.max(...task.counts) > 1 ? element("span", { class: "note" }, ` × ${Math.max(...task.counts)}`) : null] },
        { name: "before", title: "Before", width: "7rem", first: -1, by: (task) => task.before, fill: (task) => shown(task.before) },
        { name: "after", title: "After", width: "7rem", first: -1, by: (task) => task.after, fill: (task) => shown(task.after) },
        { name: "difference", title: "Difference", width: "11rem", first: -1, by: difference, fill: (task) => this.change(task.before, task.after) },
        { name: "bars", title: "Both", width: "minmax(8rem, 3fr)", fill: bars },
      ],
    });
    this.table.show(tasks);
    this.element = element("main", { class: "compare" }, element("h1", {}, "Two runs"),
      element("div", { class: "sides" }, this.side("Before", "before", before), this.side("After", "after", after),
        element("div", { class: "card" }, element("h2", {}, "Difference"), element("p", { class: "large" }, this.change(lengthOf(before), lengthOf(after))), this.spent(given.spent))),
      this.table.element);
  }

  // Along the critical path: what the time was spent on, before and after.
  spent([before, after]) {
    const kinds = { steps: "steps", retries: "retried attempts", queue: "waiting for workers", backoff: "between attempts", between: "between tasks" };
    const told = Object.entries(kinds).filter(([kind]) => Math.max(before[kind], after[kind]) > 0.01 * Math.max(before.total, after.total));
    return element("dl", { class: "spent" }, told.map(([kind, name]) => [element("dt", {}, name), element("dd", {}, `${took(before[kind])} → ${took(after[kind])}`)]));
  }

  side(title, name, run) {
    return element("div", { class: `card side side-${name}` }, element("h2", {}, title),
      element("p", {}, element("a", { href: addressOf(run) }, nameOf(run.workflow, 120)), " ", statusBadge(run.status)),
      element("p", { class: "large" }, took(lengthOf(run))),
      element("p", { class: "faint" }, moment(run.started), ` · ${run.mode} · ${plural(run.tasks, "task")} · `, element("code", { title: run.id }, `…${run.id.slice(-8)}`)));
  }

  change(before, after) {
    if (before === null || before === undefined) return element("span", { class: "faint" }, "only after");
    if (after === null || after === undefined) return element("span", { class: "faint" }, "only before");
    const by = after - before;
    const ratio = before > 0 ? after / before : null;
    const kind = Math.abs(by) < 1e6 || (ratio !== null && Math.abs(ratio - 1) < 0.05) ? "same" : by > 0 ? "slower" : "faster";
    return element("span", { class: `change ${kind}` }, sign(kind === "same" ? "skipped" : by > 0 ? "up" : "down"),
      `${by > 0 ? "+" : ""}${took(by)}`, ratio !== null ? element("span", { class: "faint" }, ` ${ratio >= 10 ? Math.round(ratio) : ratio.toFixed(2)}×`) : null,
      element("span", { class: "unseen" }, ` ${kind}`));
  }
}
