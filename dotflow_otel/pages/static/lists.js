// Lists of any length: only the rows that are seen are there.

const ROW = 26;
const BEYOND = 8;
const USABLE = "a, button, input";

class VirtualList {
  // `fill(row, item, place)` puts an item into an empty row.
  constructor({ fill, height = ROW, properties = {} }) {
    this.fill = fill;
    this.height = height;
    this.items = [];
    this.rows = new Map();
    this.spacer = element("div", { class: "spacer", role: "presentation" });
    this.element = element("div", { class: "list", ...properties }, this.spacer);
    this.draw = drawnOnce(() => this.drawNow());
    this.element.addEventListener("scroll", this.draw, { passive: true });
    new ResizeObserver(this.draw).observe(this.element);
  }

  // Other items, or the same ones that have changed.
  show(items) {
    this.items = items;
    this.spacer.style.height = `${items.length * this.height}px`;
    this.refresh();
  }

  refresh() {
    for (const row of this.rows.values()) row.stale = true;
    this.drawNow();
  }

  drawNow() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / this.height) - BEYOND);
    const last = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / this.height) + BEYOND);
    for (const [place, row] of this.rows) {
      if (place < first || place >= last) {
        row.remove();
        this.rows.delete(place);
      }
    }
    let before = null;
    for (let place = first; place < last; place += 1) {
      let row = this.rows.get(place);
      if (!row) {
        row = element("div", { role: "row", style: { top: `${place * this.height}px`, height: `${this.height}px` } });
        row.stale = true;
        this.rows.set(place, row);
        // In the order of the items, for those who have the page read to them.
        if (before) before.after(row);
        else this.spacer.prepend(row);
      }
      if (row.stale) {
        row.stale = false;
        const at = [...row.querySelectorAll(USABLE)].indexOf(document.activeElement);
        row.replaceChildren();
        this.fill(row, this.items[place], place);
        if (at >= 0) row.querySelectorAll(USABLE)[at]?.focus({ preventScroll: true });
      }
      before = row;
    }
  }

  // The next row comes to the edge, one that is far away to the middle.
  reveal(place) {
    const [top, bottom] = [place * this.height, (place + 1) * this.height];
    const { scrollTop, clientHeight } = this.element;
    const beyond = Math.max(scrollTop - top, bottom - scrollTop - clientHeight);
    if (beyond > 3 * this.height) this.element.scrollTop = Math.max(0, top - clientHeight / 2);
    else if (top < scrollTop) this.element.scrollTop = Math.max(0, top - this.height);
    else if (beyond > 0) this.element.scrollTop = bottom + this.height - clientHeight;
    this.drawNow();
  }

  get pageLength() {
    return Math.max(1, Math.floor(this.element.clientHeight / this.height) - 1);
  }
}

let tables = 0;

// A table of any length, with columns to sort by and one row that the keys move.
class Table {
  // Columns: `name`, `title`, `width` (of CSS's grid), `fill(item)`: what its cell holds; with
  // `by(item)` it can be sorted. `open(item)`: what Enter and a click do; `mark(item)`: what the
  // space bar does.
  constructor({ label, columns, open, mark = null, sorted = null, height = ROW, rowProperties = () => ({}), empty = "Nothing is here." }) {
    Object.assign(this, { label, columns, open, mark, sorted, rowProperties });
    this.id = `table-${tables += 1}`;
    this.given = [];
    this.active = -1;
    this.heading = element("div", { class: "heading", role: "row" });
    this.list = new VirtualList({ height, fill: (row, item, place) => this.fill(row, item, place) });
    this.list.element.setAttribute("role", "rowgroup");
    this.none = element("p", { class: "none" }, empty);
    this.element = element("div", {
      class: "table", role: "grid", tabindex: 0, "aria-label": label,
      style: { "--columns": columns.map((column) => column.width).join(" ") },
      on: { keydown: (event) => this.key(event) },
    }, element("div", { role: "rowgroup" }, this.heading), this.list.element, this.none);
    this.list.element.addEventListener("click", (event) => {
      const row = event.target.closest("[role=row]");
      if (!row || event.target.closest("a, input, button")) return;
      this.move(Number(row.dataset.place));
      this.open?.(this.list.items[this.active]);
    });
    this.drawHeading();
  }

  drawHeading() {
    replace(this.heading, this.columns.map((column, place) => {
      const direction = this.sorted?.name === column.name ? this.sorted.direction : 0;
      const sortable = column.by && element("button", {
        type: "button", class: "sort", on: { click: () => this.sort(column.name) },
      }, column.title, direction ? sign(direction > 0 ? "up" : "down") : null);
      return element("div", {
        role: "columnheader", class: `cell cell-${column.name}`, "aria-colindex": place + 1,
        "aria-sort": column.by ? (direction > 0 ? "ascending" : direction < 0 ? "descending" : "none") : null,
      }, sortable || column.title);
    }));
  }

  sort(name) {
    const again = this.sorted?.name === name;
    const first = this.columns.find((column) => column.name === name).first ?? 1;
    this.sorted = { name, direction: again ? -this.sorted.direction : first };
    const focused = this.heading.contains(document.activeElement);
    this.drawHeading();
    if (focused) this.heading.querySelector(`.cell-${name} button`)?.focus();
    this.show(this.given);
  }

  show(items) {
    const active = this.list.items[this.active];
    this.given = items;
    const column = this.columns.find((each) => each.name === this.sorted?.name);
    const shown = column
      ? [...items].sort((one, other) => compared(column.by(one), column.by(other), this.sorted.direction))
      : items;
    this.active = active === undefined ? -1 : shown.findIndex((item) => item === active || (item.id !== undefined && item.id === active.id));
    this.element.setAttribute("aria-rowcount", shown.length + 1);
    this.none.hidden = shown.length > 0;
    this.list.show(shown);
    this.point();
  }

  fill(row, item, place) {
    row.id = `${this.id}-${place}`;
    row.dataset.place = place;
    row.className = place === this.active ? "row active" : "row";
    row.setAttribute("aria-rowindex", place + 2);
    row.setAttribute("aria-selected", place === this.active);
    for (const [name, value] of Object.entries(this.rowProperties(item))) row.setAttribute(name, value);
    put(row, this.columns.map((column) => element("div", { role: "gridcell", class: `cell cell-${column.name}` }, column.fill(item))));
  }

  point() {
    if (this.active >= 0) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  move(place) {
    this.active = Math.min(Math.max(place, 0), this.list.items.length - 1);
    if (this.active >= 0) this.list.reveal(this.active);
    this.list.refresh();
    this.point();
  }

  key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = {
      ArrowDown: 1, ArrowUp: -1, PageDown: this.list.pageLength, PageUp: -this.list.pageLength,
      Home: -Infinity, End: Infinity,
    };
    if (event.key in steps) this.move(this.active + steps[event.key]);
    else if (event.key === "Enter" && this.active >= 0) this.open?.(this.list.items[this.active], event);
    else if (event.key === " " && this.mark && this.active >= 0) this.mark(this.list.items[this.active]);
    else return;
    event.preventDefault();
  }
}

function compared(one, other, direction) {
  if (one === other) return 0;
  // What has no value comes last, in both directions.
  if (one === null || one === undefined) return 1;
  if (other === null || other === undefined) return -1;
  return direction * (typeof one === "string" ? one.localeCompare(other) : one - other);
}
