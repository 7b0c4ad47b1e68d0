// Editor of boxes over a photo: select by tap, drag by body or corner, draw on the photo, move with the arrow keys.
// A box is {x, y, width, height} in 0…1 of the photo, origin top left.

const SMALLEST = 0.015, STEP = 0.01, TAP = 0.008;
const CORNERS = ["nw", "ne", "sw", "se"];
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const within = (value, low, high) => Math.min(Math.max(value, low), high);
const rounded = (value) => Math.round(value * 1e4) / 1e4;

function fitted(box) {
  const width = within(box.width, SMALLEST, 1), height = within(box.height, SMALLEST, 1);
  const x = rounded(within(box.x, 0, 1 - width)), y = rounded(within(box.y, 0, 1 - height));
  return { x, y, width: Math.min(rounded(width), 1 - x), height: Math.min(rounded(height), 1 - y) };
}

function between(one, other) {
  const x = Math.min(one.x, other.x), y = Math.min(one.y, other.y);
  return { x, y, width: Math.abs(one.x - other.x), height: Math.abs(one.y - other.y) };
}

function moved(box, by) { return fitted({ ...box, x: box.x + by.x, y: box.y + by.y }); }

// The dragged corner follows the pointer, the opposite corner stays.
function resized(box, corner, by) {
  const left = corner.includes("w"), top = corner.includes("n"), right = box.x + box.width, bottom = box.y + box.height;
  const x = left ? within(box.x + by.x, 0, right - SMALLEST) : box.x;
  const y = top ? within(box.y + by.y, 0, bottom - SMALLEST) : box.y;
  const width = left ? right - x : within(box.width + by.x, SMALLEST, 1 - x);
  const height = top ? bottom - y : within(box.height + by.y, SMALLEST, 1 - y);
  return fitted({ x, y, width, height });
}

class Frame {
  constructor(box, label, draft) {
    this.element = document.createElement("div");
    this.tag = document.createElement("span");
    this.element.tabIndex = 0; this.element.setAttribute("role", "button");
    this.tag.className = "tag";
    const handles = CORNERS.map((corner) => {
      const handle = document.createElement("span");
      handle.className = `corner ${corner}`;
      return handle;
    });
    this.element.append(this.tag, ...handles);
    this.draft = draft; this.removed = false; this.selected = false;
    this.setLabel(label); this.setBox(box);
  }

  setLabel(label) {
    this.tag.textContent = label;
    const help = "arrow keys move it, Shift and arrow keys resize it";
    this.element.setAttribute("aria-label", `Box of ${label || "an item"}: ${help}`);
  }

  setBox(box) {
    this.box = box;
    const sides = { left: box.x, top: box.y, width: box.width, height: box.height };
    for (const [side, value] of Object.entries(sides)) this.element.style[side] = `${value * 100}%`;
    this.placeTag(box);
    this.updateStyle();
  }

  // Above the box, but inside the photo. In the style of the tag, 100% is the box without its border of 2px.
  placeTag(box) {
    const atRight = box.x + box.width / 2 > 0.5, width = (atRight ? box.x + box.width : 1 - box.x) / box.width;
    this.tag.style.maxWidth = `calc((100% + 4px) * ${width})`;
    this.tag.style.top = `max(-1.3rem, (100% + 4px) * ${-box.y / box.height} - 2px)`;
    this.tag.classList.toggle("at-right", atRight);
  }

  updateStyle() {
    const states = { box: true, chosen: this.selected, draft: this.draft, removed: this.removed };
    this.element.className = Object.keys(states).filter((state) => states[state]).join(" ");
  }
}

export class BoxEditor {
  // callbacks: onSelect(frame or null), onChange(frame), onDraw(box), onDrawingMode(on), isEditable().
  constructor(stage, callbacks) {
    this.stage = stage; this.callbacks = callbacks; this.frames = new Map(); this.selected = null; this.drawing = false;
    stage.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    stage.addEventListener("keydown", (event) => this.onKeyDown(event));
    stage.addEventListener("focusin", (event) => {
      const frame = this.frames.get(event.target);
      if (frame) this.select(frame);
    });
  }

  add(box, label, draft = false) {
    const frame = new Frame(fitted(box), label, draft);
    this.frames.set(frame.element, frame); this.stage.append(frame.element);
    return frame;
  }

  clear() {
    for (const element of this.frames.keys()) element.remove();
    this.frames.clear(); this.selected = null; this.setDrawingMode(false);
  }

  select(frame) {
    if (this.selected === frame) return;
    const before = this.selected;
    if (before) { before.selected = false; before.updateStyle(); }
    if (frame) { frame.selected = true; frame.updateStyle(); }
    this.selected = frame;
    this.callbacks.onSelect(frame);
  }

  setDrawingMode(on) {
    this.drawing = on;
    this.stage.classList.toggle("drawing", on);
    this.callbacks.onDrawingMode(on);
  }

  onPointerDown(event) {
    if (!event.isPrimary || event.button > 0 || !this.callbacks.isEditable()) return;
    const frame = this.drawing ? null : this.frames.get(event.target.closest(".box"));
    const touch = event.pointerType === "touch";
    if (frame) {
      const wasSelected = this.selected === frame;
      const corner = CORNERS.find((name) => event.target.classList.contains(name));
      this.select(frame);
      // A finger that moves over the photo scrolls the page: the first tap selects a box, the next drag moves it.
      if (!wasSelected && touch) return;
      this.track(event, frame.box, (box, by) => this.change(frame, corner ? resized(box, corner, by) : moved(box, by)));
    } else if (this.drawing || !touch) {
      this.draw(event);
    } else {
      this.select(null);
    }
  }

  draw(event) {
    const start = this.position(event);
    let sketch = null;
    this.track(event, { ...start, width: 0, height: 0 }, (_, by) => {
      const box = between(start, { x: within(start.x + by.x, 0, 1), y: within(start.y + by.y, 0, 1) });
      if (!sketch) { sketch = this.add(box, ""); sketch.element.style.pointerEvents = "none"; }
      sketch.setBox(box);
    }, (done) => {
      const box = sketch && sketch.box;
      if (sketch) { this.frames.delete(sketch.element); sketch.element.remove(); }
      if (!box) this.select(null);
      if (done && box && box.width >= SMALLEST && box.height >= SMALLEST) {
        this.setDrawingMode(false);
        this.callbacks.onDraw(fitted(box));
      }
    });
  }

  // Calls step(box, movement) while the pointer moves, and ended(whether it moved) when it is released.
  track(event, box, step, ended = () => {}) {
    const start = this.position(event), pointer = event.pointerId, listeners = new AbortController();
    let moving = false;
    const on = (kind, act) => {
      const ofPointer = (next) => { if (next.pointerId === pointer) act(next); };
      this.stage.addEventListener(kind, ofPointer, { signal: listeners.signal });
    };
    event.preventDefault();
    event.target.closest(".box")?.focus({ preventScroll: true });
    this.stage.setPointerCapture(pointer);
    on("pointermove", (next) => {
      const now = this.position(next), by = { x: now.x - start.x, y: now.y - start.y };
      moving ||= Math.hypot(by.x, by.y) > TAP;
      if (moving) step(box, by);
    });
    on("pointerup", () => { listeners.abort(); ended(moving); });
    on("pointercancel", () => { listeners.abort(); if (moving) step(box, { x: 0, y: 0 }); ended(false); });
  }

  onKeyDown(event) {
    const frame = this.frames.get(event.target), by = ARROWS[event.key];
    if (!frame || !by || !this.callbacks.isEditable()) return;
    event.preventDefault();
    const step = { x: by[0], y: by[1] };
    this.change(frame, event.shiftKey ? resized(frame.box, "se", step) : moved(frame.box, step));
  }

  change(frame, box) { frame.draft = false; frame.setBox(box); this.callbacks.onChange(frame); }

  // Where the pointer is, in 0…1 of the photo.
  position(event) {
    const photo = this.stage.getBoundingClientRect();
    return { x: (event.clientX - photo.left) / photo.width, y: (event.clientY - photo.top) / photo.height };
  }
}
