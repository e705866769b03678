// Which part of a run's time is seen, its axis, and the overview to choose it in.

// Nothing shorter than this is shown across the whole width, in nanoseconds.
const SHORTEST = 100;

class View {
  constructor(extent) {
    this.extent = extent;
    [this.from, this.to] = extent;
    this.listeners = [];
  }

  get length() {
    return this.to - this.from;
  }

  get isWhole() {
    return this.from <= this.extent[0] && this.to >= this.extent[1];
  }

  // The run has gone on: who sees all of it goes on seeing all.
  extend(extent) {
    const whole = this.isWhole;
    this.extent = extent;
    if (whole) this.set(...extent);
    else this.changed();
  }

  set(from, to) {
    const [first, last] = this.extent;
    const length = Math.min(Math.max(to - from, SHORTEST), last - first);
    const start = Math.min(Math.max(from, first), last - length);
    [this.from, this.to] = [start, start + length];
    this.changed();
  }

  fit() {
    this.set(...this.extent);
  }

  zoom(factor, at = (this.from + this.to) / 2) {
    this.set(at - (at - this.from) * factor, at + (this.to - at) * factor);
  }

  pan(share) {
    this.set(this.from + this.length * share, this.to + this.length * share);
  }

  // Where a time is, as a share of the width: 0 to 1 where it is seen.
  share(time) {
    return (time - this.from) / this.length;
  }

  timeAt(share) {
    return this.from + this.length * share;
  }

  changed() {
    for (const listener of this.listeners) listener();
  }
}

// Times at even distances that read well, at most `most` of them.
function ticksOf(view, most) {
  const rough = view.length / Math.max(most, 1);
  let step = 10 ** Math.floor(Math.log10(rough));
  if (rough > 20e9) step = [30e9, 60e9, 120e9, 300e9, 600e9, 1200e9, 3600e9, 7200e9, 14400e9, 43200e9, 86400e9].find((each) => each >= rough) ?? Math.ceil(rough / 86400e9) * 86400e9;
  else step *= [1, 2, 5, 10].find((factor) => step * factor >= rough);
  const ticks = [];
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) ticks.push(time);
  return { step, ticks };
}

// The text of a tick: all of them in one unit.
function tickText(time, step) {
  if (time === 0) return "0";
  if (step >= 30e9) return took(time);
  const [unit, name] = step >= 1e9 ? [1e9, "s"] : step >= 1e6 ? [1e6, "ms"] : step >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const longer = unit < 1e9 && Math.abs(time) >= 1e3 * unit;
  const [shownUnit, shownName] = longer ? { ms: [1e9, "s"], µs: [1e6, "ms"], ns: [1e3, "µs"] }[name] : [unit, name];
  const decimals = Math.max(0, Math.ceil(-Math.log10(step / shownUnit) - 1e-9));
  return `${(time / shownUnit).toFixed(Math.min(decimals, 9))} ${shownName}`;
}

// The numbers above the rows. It says by variables where the rows draw their lines.
class Axis {
  constructor(view, lined) {
    this.view = view;
    this.lined = lined;
    this.element = element("div", { class: "axis", "aria-hidden": "true" });
    this.draw = drawnOnce(() => this.drawNow());
    view.listeners.push(this.draw);
    new ResizeObserver(this.draw).observe(this.element);
  }

  drawNow() {
    const width = this.element.clientWidth;
    if (!width) return;
    const { step, ticks } = ticksOf(this.view, Math.max(2, Math.floor(width / 90)));
    const shown = ticks.filter((time) => this.view.share(time) * width < width - 48);
    replace(this.element, shown.map((time) => element("span", {
      style: { left: `${this.view.share(time) * 100}%` },
    }, tickText(time, step))));
    this.lined.style.setProperty("--tick-width", `${(step / this.view.length) * width}px`);
    this.lined.style.setProperty("--tick-from", `${ticks.length ? this.view.share(ticks[0]) * width : 0}px`);
  }
}

// Bars are cut at the edges: a browser cannot place what is a million times as wide as it.
function placeOf(view, start, end) {
  const left = Math.max(view.share(start), -0.01);
  const right = Math.min(view.share(end), 1.01);
  return right < 0 || left > 1 ? null : { left, width: Math.max(right - left, 0) };
}

// A line follows the pointer, with its time; dragging chooses what is seen.
function followPointer(view, area, readout) {
  let begun = null;
  const marked = element("div", { class: "marked", hidden: true });
  const line = element("div", { class: "pointer-line", hidden: true });
  area.append(marked, line);
  const columnOf = () => {
    const column = area.querySelector(".axis");
    return column.getBoundingClientRect();
  };
  const shareAt = (event) => {
    const { left, width } = columnOf();
    return (event.clientX - left) / width;
  };
  const pixel = (share) => {
    const { left, width } = columnOf();
    return left - area.getBoundingClientRect().left + share * width;
  };
  area.addEventListener("pointermove", (event) => {
    const share = shareAt(event);
    const inside = share >= 0 && share <= 1;
    line.hidden = !inside || event.pointerType === "touch";
    readout.textContent = inside ? took(view.timeAt(share)) : "";
    line.style.left = `${pixel(share)}px`;
    if (begun === null) return;
    const [from, to] = [Math.max(Math.min(begun, share), 0), Math.min(Math.max(begun, share), 1)];
    marked.hidden = to - from < 0.004;
    marked.style.left = `${pixel(from)}px`;
    marked.style.width = `${(to - from) * columnOf().width}px`;
    if (!marked.hidden) readout.textContent = `${took((to - from) * view.length)} long`;
  });
  area.addEventListener("pointerleave", () => {
    line.hidden = true;
    readout.textContent = "";
  });
  area.addEventListener("pointerdown", (event) => {
    const share = shareAt(event);
    if (event.button !== 0 || event.pointerType === "touch" || share < 0 || share > 1) return;
    if (event.offsetX > event.target.clientWidth && event.target.scrollHeight > event.target.clientHeight) return;
    begun = share;
  });
  const end = (event) => {
    if (begun !== null && !marked.hidden) {
      const share = Math.min(Math.max(shareAt(event), 0), 1);
      const [from, to] = [Math.min(begun, share), Math.max(begun, share)];
      // The click that ends this is none on a row.
      const swallow = (click) => click.stopPropagation();
      addEventListener("click", swallow, { capture: true });
      setTimeout(() => removeEventListener("click", swallow, { capture: true }), 0);
      view.set(view.timeAt(from), view.timeAt(to));
    }
    begun = null;
    marked.hidden = true;
  };
  addEventListener("pointerup", end);
  area.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      view.zoom(Math.exp(Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 60) / 150), view.timeAt(shareAt(event)));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      view.pan((event.shiftKey ? event.deltaY || event.deltaX : event.deltaX) / 1000);
    } else return;
    event.preventDefault();
  }, { passive: false });
}

// All tasks, small, and in a frame the part that is seen.
class Overview {
  constructor(run, view) {
    this.run = run;
    this.view = view;
    this.canvas = element("canvas", { class: "overview-drawing", "aria-hidden": "true" });
    this.frame = element("div", { class: "frame" });
    this.handles = [this.handle("from", "First moment that is shown"), this.handle("to", "Last moment that is shown")];
    this.element = element("div", { class: "overview", role: "group", "aria-label": "Overview of the whole run" },
      this.canvas, element("div", { class: "shade shade-before" }), element("div", { class: "shade shade-after" }), this.frame, this.handles);
    this.draw = drawnOnce(() => this.drawNow());
    this.place = drawnOnce(() => this.placeNow());
    view.listeners.push(this.place);
    run.listeners.push(this.draw);
    themeListeners.push(this.draw);
    new ResizeObserver(this.draw).observe(this.element);
    this.drag();
  }

  handle(edge, label) {
    return element("div", {
      class: `handle handle-${edge}`, role: "slider", tabindex: 0, "aria-label": label,
      on: { keydown: (event) => this.key(event, edge) },
    });
  }

  key(event, edge) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step && !["Home", "End"].includes(event.key)) return;
    const [first, last] = this.view.extent;
    const by = ((last - first) / (event.shiftKey ? 10 : 50)) * (step ?? 0);
    const there = event.key === "Home" ? first : event.key === "End" ? last : this.view[edge] + by;
    if (edge === "from") this.view.set(Math.min(there, this.view.to - SHORTEST), this.view.to);
    else this.view.set(this.view.from, Math.max(there, this.view.from + SHORTEST));
    event.preventDefault();
    event.stopPropagation();
  }

  drag() {
    let move = null;
    const [first, last] = [() => this.view.extent[0], () => this.view.extent[1]];
    const timeAt = (event) => {
      const { left, width } = this.element.getBoundingClientRect();
      return first() + Math.min(Math.max((event.clientX - left) / width, 0), 1) * (last() - first());
    };
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const begun = timeAt(event);
      const { from, to, isWhole } = this.view;
      if (event.target.classList.contains("handle-from")) move = (time) => this.view.set(Math.min(time, to - SHORTEST), to);
      else if (event.target.classList.contains("handle-to")) move = (time) => this.view.set(from, Math.max(time, from + SHORTEST));
      else if (event.target === this.frame && !isWhole) move = (time) => this.view.set(from + time - begun, to + time - begun);
      else move = (time) => Math.abs(time - begun) > (last() - first()) / 200 && this.view.set(Math.min(time, begun), Math.max(time, begun));
      this.element.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    this.element.addEventListener("pointermove", (event) => move?.(timeAt(event)));
    this.element.addEventListener("pointerup", () => { move = null; });
    this.element.addEventListener("pointercancel", () => { move = null; });
    this.element.addEventListener("dblclick", () => this.view.fit());
  }

  drawNow() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [width * scale, height * scale];
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const shown = this.run.tasks.length ? this.run.tasks : this.run.order;
    const [first, last] = this.view.extent;
    const colours = { failed: colourOf("failed"), lost: colourOf("lost"), running: colourOf("running"), other: colourOf("bar-task") };
    const each = (height - 8) / Math.max(shown.length, 1);
    const thick = Math.min(Math.max(each - 1, 1.5), 6);
    const draw = (span) => {
      const left = ((span.start - first) / (last - first)) * width;
      const right = ((this.run.endOf(span) - first) / (last - first)) * width;
      context.fillStyle = colours[span.status] ?? colours.other;
      context.fillRect(left, 4 + span.row * each, Math.max(right - left, 1), thick);
    };
    shown.forEach((span, row) => { span.row = row; });
    // What went wrong is drawn last, over the rest.
    for (const span of shown) if (!(span.status in colours)) draw(span);
    for (const span of shown) if (span.status in colours) draw(span);
    this.placeNow();
  }

  placeNow() {
    const [first, last] = this.view.extent;
    const share = (time) => ((time - first) / (last - first)) * 100;
    const [from, to] = [share(this.view.from), share(this.view.to)];
    this.element.style.setProperty("--from", `${from}%`);
    this.element.style.setProperty("--to", `${to}%`);
    this.element.classList.toggle("whole", this.view.isWhole);
    this.handles.forEach((handle, place) => {
      const time = place ? this.view.to : this.view.from;
      handle.setAttribute("aria-valuemin", 0);
      handle.setAttribute("aria-valuemax", 100);
      handle.setAttribute("aria-valuenow", Math.round(place ? to : from));
      handle.setAttribute("aria-valuetext", took(time));
    });
  }
}
