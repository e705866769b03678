// A run as the page holds it: spans as a tree, lines, and what is selected.

class Run {
  // `isLive`: whether it is told how the run goes on.
  constructor(given, isLive = false) {
    this.isLive = isLive;
    this.spans = new Map();
    this.lines = [];
    this.listeners = [];
    this.folded = new Set();
    this.selected = null;
    this.take(given);
  }

  // All that the page knows, anew; what is folded and selected stays.
  take(given) {
    this.facts = given.run;
    this.links = given.links ?? {};
    if (given.analysis || !this.analysis) this.learnt(given.analysis ?? {});
    this.loaded = performance.now();
    this.spans.clear();
    this.lines = [];
    this.absorb(given.part);
  }

  learnt(analysis) {
    this.analysis = analysis;
    this.path = new Set(analysis.path ?? []);
  }

  learn(analysis) {
    this.learnt(analysis);
    this.build();
  }

  // What came since, of a run that goes on. A span that comes again takes the place of the first.
  absorb(part, facts = null) {
    if (facts) {
      this.facts = facts;
      this.loaded = performance.now();
    }
    const texts = part.texts;
    for (const span of part.spans) {
      for (const event of span.events ?? []) event.stack = texts[event.stack];
      const known = this.spans.get(span.id);
      if (!known || known.end === null || span.end !== null) this.spans.set(span.id, span);
    }
    for (const line of part.lines) {
      line.stack = texts[line.stack];
      this.lines.push(line);
      if (line.skipped) this.spans.set(line.skipped, skippedTask(line));
    }
    this.lines.sort((one, other) => one.time - other.time);
    this.build();
  }

  get isRunning() {
    return this.facts.status === "running";
  }

  // Nanoseconds since the start: until now, or until the last that is known of a run that is lost.
  get now() {
    if (!this.isRunning) return this.facts.ended ?? this.facts.last;
    return this.facts.age + (this.isLive ? (performance.now() - this.loaded) * 1e6 : 0);
  }

  // What the server reckoned of a task: its seconds, its waiting, and the runs before.
  figuresOf(task) {
    return (this.analysis.tasks ?? {})[task.id] ?? {};
  }

  // How long a task took since its first attempt began; other spans as they are.
  lengthOf(span) {
    const { seconds } = this.figuresOf(span);
    return typeof seconds === "number" && span.end !== null ? seconds * 1e9 : this.endOf(span) - span.start;
  }

  endOf(span) {
    return span.end ?? Math.max(this.now, span.start);
  }

  build() {
    const root = this.spans.get(this.facts.span);
    this.selected = this.selected && (this.spans.get(this.selected.id) ?? null);
    this.root = root ?? null;
    for (const span of this.spans.values()) {
      span.children = [];
      span.lines = [];
    }
    const tops = [];
    this.order = [];
    for (const span of this.spans.values()) {
      const above = this.spans.get(span.parent);
      span.above = above && above !== span && span !== root ? above : span === root ? null : root ?? null;
      if (span.above) span.above.children.push(span);
      else tops.push(span);
    }
    for (const span of this.spans.values()) span.children.sort(byStart);
    this.tops = tops.sort(byStart);
    for (const line of this.lines) {
      line.of = this.spans.get(line.span) ?? null;
      line.of?.lines.push(line);
    }
    this.order = [];
    this.ofStatus = { failed: [], running: [], lost: [] };
    let first = 0;
    let last = Math.max(this.now, 1);
    const take = (span, depth) => {
      span.depth = depth;
      span.place = this.order.length;
      span.status = this.statusOf(span);
      span.task = span.kind === "task" ? span : span.above?.task ?? null;
      span.critical = this.path.has(span.id);
      this.order.push(span);
      this.ofStatus[span.status]?.push(span);
      first = Math.min(first, span.start);
      last = Math.max(last, this.endOf(span));
    };
    walk(this.tops, take);
    // Those that are above themselves, of which no honest program tells.
    const reached = new Set(this.order);
    const lost = [...this.spans.values()].filter((span) => !reached.has(span));
    for (const span of lost) Object.assign(span, { above: this.root, children: [] });
    walk(lost, (span) => take(span, 1));
    this.tasks = this.order.filter((span) => span.kind === "task");
    this.hasGroups = new Set(this.tasks.map(groupOf)).size > 1;
    this.extent = [first, last];
    this.errors = null;
    for (const listener of this.listeners) listener();
  }

  statusOf(span) {
    if (span.status === "skipped") return "skipped";
    if (span === this.root) return this.facts.status;
    if (span.attributes["error.type"] === "run_lost") return "lost";
    if (span.end === null) return this.isRunning ? "running" : "lost";
    if (span.error !== undefined) return "failed";
    return span.attributes["dotflow.task.restored"] ? "restored" : "completed";
  }

  // --- what is seen ---------------------------------------------------------------------------

  // A single attempt tells no more than its task. A long run begins with its tasks alone, and all
  // of what failed.
  foldAtFirst() {
    const isLong = this.order.length > 400;
    for (const span of this.tasks) {
      if (isPlain(span) || (isLong && span.children.length && span.status === "completed")) this.folded.add(span.id);
    }
  }

  // The rows in order; where `wanted` is given, only these and what is above them.
  rows(wanted = null) {
    const kept = wanted && new Set();
    if (kept) {
      for (const span of wanted) for (let each = span; each && !kept.has(each); each = each.above) kept.add(each);
    }
    const rows = [];
    let hidden = Infinity;
    for (const span of this.order) {
      if (span.depth > hidden) continue;
      hidden = Infinity;
      if (kept && !kept.has(span)) continue;
      rows.push(span);
      if (!kept && this.folded.has(span.id)) hidden = span.depth;
    }
    return rows;
  }

  reveal(span) {
    for (let above = span.above; above; above = above.above) this.folded.delete(above.id);
  }

  find(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    if (!wanted.length) return null;
    return this.order.filter((span) => {
      const text = textOf(span);
      return wanted.every((word) => text.includes(word));
    });
  }

  // --- errors -----------------------------------------------------------------------------------

  // What was raised, once for all spans that tell the same of it: the latest first in each.
  allErrors() {
    if (this.errors) return this.errors;
    const found = new Map();
    for (const span of this.order) {
      if (span.status !== "failed" && span.status !== "lost") continue;
      if (span.kind === "workflow" && span.children.length) continue;
      const raised = raisedOf(span);
      const isTold = span.children.some((child) => child.status === span.status);
      if (isTold && span.kind !== "task") continue;
      const key = [raised.type, raised.message, raised.stack ?? ""].join("\u0000");
      const known = found.get(key);
      // An attempt tells the same as its task, which has failed with it.
      if (known && span.kind === "attempt" && known.tasks.has(span.task)) continue;
      if (known) known.spans.push(span);
      else found.set(key, { ...raised, status: span.status, spans: [span], tasks: new Set() });
      found.get(key).tasks.add(span);
    }
    this.errors = [...found.values()];
    return this.errors;
  }
}

function skippedTask(line) {
  return {
    id: line.skipped, parent: line.span, kind: "task", label: line.task ?? "", status: "skipped",
    start: line.time, end: line.time, attributes: {},
  };
}

function byStart(one, other) {
  return one.start - other.start || ((one.end ?? Infinity) - (other.end ?? Infinity));
}

// Every span after the one above it; no recursion, for a tree may be deep.
function walk(tops, call) {
  const waiting = tops.map((span) => [span, 0]).reverse();
  const seen = new Set();
  while (waiting.length) {
    const [span, depth] = waiting.pop();
    if (seen.has(span)) continue;
    seen.add(span);
    call(span, depth);
    for (let place = span.children.length - 1; place >= 0; place -= 1) waiting.push([span.children[place], depth + 1]);
  }
}

function textOf(span) {
  if (span.text === undefined) {
    const values = Object.entries(span.attributes).map(([name, value]) => `${name}=${shownValue(value)}`);
    span.text = [span.label, span.kind, span.error ?? "", span.id, ...values].join("\n").toLowerCase();
  }
  return `${span.text}\n${span.status}`;
}

function shownValue(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function raisedOf(span) {
  const event = (span.events ?? []).findLast((each) => each.name === "exception");
  const description = span.error ?? "";
  return {
    type: event?.attributes["exception.type"] ?? span.attributes["error.type"] ?? "",
    message: event?.attributes["exception.message"] ?? description,
    stack: event?.stack ?? null,
  };
}

// How long a task that was ready waited for a worker, in nanoseconds; null where none tells.
function waited(span) {
  const seconds = span.attributes["dotflow.task.queue.duration"];
  return typeof seconds === "number" ? seconds * 1e9 : null;
}

function attemptsOf(task) {
  return task.children.filter((span) => span.kind === "attempt");
}

function kindOf(span) {
  return span.kind === "span" && span.scope ? span.scope : span.kind;
}

function isPlain(task) {
  const [only, ...others] = task.children;
  return task.kind === "task" && only?.kind === "attempt" && !others.length && !only.children.length;
}

function groupOf(task) {
  return task.attributes["dotflow.task.group"] ?? "";
}
