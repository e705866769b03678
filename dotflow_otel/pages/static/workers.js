// What each worker did when: a lane for each process, with the attempts that it ran.

const LANE = 34;

// The lanes of a run, each with what it ran in the order of time.
function lanesOf(run) {
  const lanes = new Map();
  for (const task of run.tasks) {
    const attempts = attemptsOf(task);
    const parts = attempts.length ? attempts : task.status === "skipped" || task.status === "restored" ? [] : [task];
    for (const part of parts) {
      const host = part.attributes["host.name"] ?? run.facts.host;
      const pid = part.attributes["process.pid"] ?? run.facts.pid;
      const key = `${host} ${pid}`;
      if (!lanes.has(key)) lanes.set(key, { host, pid, isOwn: host === run.facts.host && pid === run.facts.pid, parts: [] });
      lanes.get(key).parts.push(part);
    }
  }
  const found = [...lanes.values()];
  const single = new Set(found.map((lane) => lane.host)).size < 2;
  for (const lane of found) {
    lane.parts.sort(byStart);
    lane.label = `${lane.isOwn ? "run's process" : "worker"} ${lane.pid}${single ? "" : ` on ${lane.host}`}`;
    lane.busy = busyTime(run, lane.parts);
    stack(run, lane);
  }
  return found.sort((one, other) => other.isOwn - one.isOwn || byStart(one.parts[0], other.parts[0]));
}

// The time in which at least one of them went on.
function busyTime(run, parts) {
  let [sum, until] = [0, -Infinity];
  for (const part of parts) {
    const end = run.endOf(part);
    if (end > until) sum += end - Math.max(part.start, until);
    until = Math.max(until, end);
  }
  return sum;
}

// Those that overlap, in threads of one process, stand below each other.
function stack(run, lane) {
  const ends = [];
  for (const part of lane.parts) {
    let level = ends.findIndex((end) => end <= part.start);
    if (level < 0) level = ends.length < 6 ? ends.length : 5;
    ends[level] = run.endOf(part);
    part.level = level;
  }
  lane.levels = Math.max(ends.length, 1);
}

class Workers {
  constructor(run, view, details) {
    Object.assign(this, { run, view, details });
    this.active = 0;
    this.readout = element("span", { class: "readout" });
    this.list = new VirtualList({ height: LANE, fill: (row, lane, place) => this.fill(row, lane, place) });
    this.list.element.setAttribute("role", "rowgroup");
    this.element = element("div", {
      class: "waterfall workers", role: "grid", tabindex: 0, "aria-label": "Workers and what they ran",
      on: { keydown: (event) => this.key(event) },
    });
    this.axis = new Axis(view, this.element);
    this.none = element("p", { class: "none" }, "No task has run.");
    put(this.element,
      element("div", { role: "rowgroup" }, element("div", { role: "row", class: "heading" },
        element("div", { role: "columnheader", class: "cell-name" }, "Worker", this.readout),
        element("div", { role: "columnheader", class: "cell-time", "aria-label": "Time" }, this.axis.element))),
      this.list.element, this.none);
    followPointer(view, this.element, this.readout);
    this.tip = element("div", { class: "tip", hidden: true });
    this.element.append(this.tip);
    this.list.element.addEventListener("click", (event) => this.click(event));
    this.list.element.addEventListener("pointermove", (event) => this.hover(event));
    this.list.element.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    const redraw = drawnOnce(() => this.list.refresh());
    view.listeners.push(redraw);
    new ResizeObserver(redraw).observe(this.axis.element);
    themeListeners.push(() => this.list.refresh());
    run.listeners.push(() => this.show());
    this.show();
  }

  show() {
    this.lanes = lanesOf(this.run);
    this.none.hidden = this.lanes.length > 0;
    this.element.setAttribute("aria-rowcount", this.lanes.length + 1);
    this.list.show(this.lanes);
  }

  fill(row, lane, place) {
    row.id = `lane-${place}`;
    row.className = "row lane";
    row.dataset.place = place;
    const [first, last] = this.run.extent;
    const percent = (lane.busy / (last - first)) * 100;
    const share = percent > 0 && percent < 1 ? "< 1" : Math.round(percent);
    const count = plural(lane.parts.length, "attempt");
    row.setAttribute("aria-rowindex", place + 2);
    const canvas = element("canvas", { role: "img", "aria-label": `${lane.label}: ${count}, busy ${share} % of the run` });
    put(row,
      element("div", { role: "gridcell", class: "cell-name" }, element("span", { class: "label" }, nameOf(lane.label)),
        element("span", { class: "note", title: `${count}, busy ${took(lane.busy)}` }, `${count} · ${share} %`)),
      element("div", { role: "gridcell", class: "cell-time" }, canvas));
    // Once it has a place, and thereby a width.
    queueMicrotask(() => this.draw(canvas, lane));
  }

  draw(canvas, lane) {
    const width = canvas.parentElement?.clientWidth ?? 0;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * scale, LANE * scale];
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const colours = this.colours ??= {};
    if (colours.dark !== isDark()) {
      Object.assign(colours, { dark: isDark(), text: colourOf("bar-text"), strong: colourOf("bar-text-strong"), chosen: colourOf("text") });
      for (const [status, name] of [["failed", "failed"], ["lost", "lost"], ["running", "running"], ["other", "bar-task"]]) colours[status] = colourOf(name);
    }
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    const high = (LANE - 8) / lane.levels;
    let painted = -1;
    for (const part of lane.parts) {
      const [left, right] = [this.view.share(part.start) * width, this.view.share(this.run.endOf(part)) * width];
      if (right < 0 || left > width) continue;
      const [from, to] = [Math.max(left, -2), Math.min(right, width + 2)];
      // Those that are narrower than a point are drawn as one, unless something is wrong.
      if (to < painted && !(part.status in colours) && lane.levels === 1) continue;
      painted = Math.max(painted, from + 1);
      const top = 4 + part.level * high;
      context.fillStyle = colours[part.status] ?? colours.other;
      context.fillRect(from, top, Math.max(to - from - 0.5, 1), high - 1);
      const isSelected = part === this.run.selected || part.task === this.run.selected;
      if (isSelected) {
        context.strokeStyle = colours.chosen;
        context.lineWidth = 2;
        context.strokeRect(from + 1, top + 1, Math.max(to - from - 2, 1), high - 3);
      }
      if (to - from > 34 && high > 11) {
        context.fillStyle = part.status in colours ? colours.strong : colours.text;
        context.save();
        context.beginPath();
        context.rect(from, top, to - from - 4, high);
        context.clip();
        context.fillText(onOneLine(part.task?.label ?? part.label, 60), Math.max(from, 0) + 5, top + high / 2);
        context.restore();
      }
    }
  }

  partAt(event) {
    const cell = event.target.closest(".cell-time");
    const row = event.target.closest(".lane");
    if (!cell || !row) return null;
    const { left, top, width } = cell.getBoundingClientRect();
    const time = this.view.timeAt((event.clientX - left) / width);
    const near = (3 / width) * this.view.length;
    const lane = this.lanes[Number(row.dataset.place)];
    const level = Math.floor(((event.clientY - top - 4) / (LANE - 8)) * lane.levels);
    let found = null;
    for (const part of lane.parts) {
      if (part.level !== Math.min(Math.max(level, 0), lane.levels - 1)) continue;
      if (part.start - near <= time && time <= this.run.endOf(part) + near) found = part;
      if (part.start <= time && time <= this.run.endOf(part)) break;
    }
    return found;
  }

  hover(event) {
    const part = this.partAt(event);
    this.tip.hidden = !part;
    if (!part) return;
    const wait = waited(part);
    replace(this.tip, statusSign(part.status), " ", nameOf(part.task?.label ?? part.label, 80),
      element("span", { class: "faint" }, ` ${part.kind === "attempt" ? `${part.label} · ` : ""}${took(this.run.endOf(part) - part.start)}${wait ? ` · waited ${took(wait)}` : ""}`));
    const area = this.element.getBoundingClientRect();
    const [x, y] = [event.clientX - area.left, event.clientY - area.top];
    this.tip.style.left = `${Math.min(x + 12, area.width - this.tip.offsetWidth - 8)}px`;
    this.tip.style.top = `${Math.min(y + 16, area.height - this.tip.offsetHeight - 8)}px`;
  }

  click(event) {
    const part = this.partAt(event);
    if (part) this.select(part);
  }

  select(part, opens = true) {
    this.run.selected = part;
    this.list.refresh();
    if (opens) this.details.show(part);
    announce(`${part.task?.label ?? part.label}, ${part.status}, ${took(this.run.endOf(part) - part.start)}`);
  }

  // The arrows go from one attempt to the next, and from lane to lane.
  key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const part = this.run.selected;
    const place = this.lanes.findIndex((lane) => lane.parts.includes(part));
    const lane = this.lanes[Math.max(place, 0)];
    if (lane && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      const at = lane.parts.indexOf(part) + (event.key === "ArrowRight" ? 1 : -1);
      this.select(lane.parts[Math.min(Math.max(at, 0), lane.parts.length - 1)], this.details.isOpen);
    } else if (lane && ["ArrowUp", "ArrowDown"].includes(event.key)) {
      const there = Math.min(Math.max(place + (event.key === "ArrowDown" ? 1 : -1), 0), this.lanes.length - 1);
      const start = part?.start ?? 0;
      const next = this.lanes[there].parts;
      this.select(next.find((each) => this.run.endOf(each) >= start) ?? next.at(-1), this.details.isOpen);
      this.list.reveal(there);
    } else if (event.key === "Enter" && part) this.details.show(part, true);
    else if (event.key === "f" && part) {
      const end = this.run.endOf(part);
      this.view.set(part.start - (end - part.start) * 0.05 - SHORTEST, end + (end - part.start) * 0.05 + SHORTEST);
    } else if (!zoomedByKey(event, this.view)) return;
    event.preventDefault();
    event.stopPropagation();
  }
}
