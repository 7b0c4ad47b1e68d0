// Boxes over a photo: chosen by a tap, dragged by body or corner, drawn on the bare photo, moved by the arrow keys.
// A box is {x, y, width, height} in 0…1 of the photo, origin top left.

const SMALLEST = 0.015, STEP = 0.01, TAP = 0.008;
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

// The corner that is dragged goes with the pointer, the one across stays.
function resized(box, corner, by) {
  const left = corner.includes("w"), top = corner.includes("n"), right = box.x + box.width, bottom = box.y + box.height;
  const x = left ? within(box.x + by.x, 0, right - SMALLEST) : box.x, y = top ? within(box.y + by.y, 0, bottom - SMALLEST) : box.y;
  const width = left ? right - x : within(box.width + by.x, SMALLEST, 1 - x), height = top ? bottom - y : within(box.height + by.y, SMALLEST, 1 - y);
  return fitted({ x, y, width, height });
}

class Frame {
  constructor(box, label, draft) {
    this.element = document.createElement("div");
    this.tag = document.createElement("span");
    this.element.tabIndex = 0; this.element.setAttribute("role", "button");
    this.tag.className = "tag";
    this.element.append(this.tag, ...["nw", "ne", "sw", "se"].map((corner) => Object.assign(document.createElement("span"), { className: `corner ${corner}` })));
    this.draft = draft; this.removed = false; this.chosen = false;
    this.name(label); this.put(box);
  }

  name(label) {
    this.tag.textContent = label;
    this.element.setAttribute("aria-label", `Box of ${label || "something"}: arrow keys move it, with Shift they change its size`);
  }

  put(box) {
    this.box = box;
    for (const [side, value] of [["left", box.x], ["top", box.y], ["width", box.width], ["height", box.height]]) this.element.style[side] = `${value * 100}%`;
    this.style();
  }

  style() {
    const states = { box: true, chosen: this.chosen, draft: this.draft, removed: this.removed, "at-top": this.box.y < 0.08, "at-right": this.box.x + this.box.width / 2 > 0.5 };
    this.element.className = Object.keys(states).filter((state) => states[state]).join(" ");
  }
}

export class BoxEditor {
  // told: chose(frame or null), changed(frame), drew(box), and whether boxes may be changed now.
  constructor(stage, told) {
    this.stage = stage; this.told = told; this.frames = new Map(); this.chosen = null; this.drawing = false;
    stage.addEventListener("pointerdown", (event) => this.begin(event));
    stage.addEventListener("keydown", (event) => this.press(event));
    stage.addEventListener("focusin", (event) => { const frame = this.frames.get(event.target); if (frame) this.choose(frame); });
  }

  add(box, label, draft = false) {
    const frame = new Frame(fitted(box), label, draft);
    this.frames.set(frame.element, frame); this.stage.append(frame.element);
    return frame;
  }

  clear() {
    for (const element of this.frames.keys()) element.remove();
    this.frames.clear(); this.chosen = null; this.draws(false);
  }

  choose(frame) {
    if (this.chosen === frame) return;
    for (const [one, chosen] of [[this.chosen, false], [frame, true]]) if (one) { one.chosen = chosen; one.style(); }
    this.chosen = frame;
    this.told.chose(frame);
  }

  draws(on) { this.drawing = on; this.stage.classList.toggle("drawing", on); this.told.draws(on); }

  begin(event) {
    if (!event.isPrimary || event.button > 0 || !this.told.ready()) return;
    const element = event.target.closest(".box"), frame = this.drawing ? null : this.frames.get(element), touch = event.pointerType === "touch";
    if (frame) {
      const was = this.chosen === frame, corner = ["nw", "ne", "sw", "se"].find((one) => event.target.classList.contains(one));
      this.choose(frame);
      // A finger that only passes over the photo scrolls the page: a first tap chooses, then the box goes along.
      if (was || !touch) this.follow(event, frame.box, (box, by) => this.change(frame, corner ? resized(box, corner, by) : moved(box, by)));
    } else if (this.drawing || !touch) {
      this.draw(event);
    } else {
      this.choose(null);
    }
  }

  draw(event) {
    const start = this.place(event);
    let sketch = null;
    this.follow(event, { ...start, width: 0, height: 0 }, (_, by) => {
      const box = between(start, { x: within(start.x + by.x, 0, 1), y: within(start.y + by.y, 0, 1) });
      if (!sketch) { sketch = this.add(box, ""); sketch.element.style.pointerEvents = "none"; }
      sketch.put(box);
    }, (done) => {
      const box = sketch && sketch.box;
      if (sketch) { this.frames.delete(sketch.element); sketch.element.remove(); }
      if (done && box && box.width >= SMALLEST && box.height >= SMALLEST) { this.draws(false); this.told.drew(fitted(box)); } else if (!box) this.choose(null);
    });
  }

  follow(event, box, step, ended = () => {}) {
    const start = this.place(event), pointer = event.pointerId, watch = new AbortController();
    let going = false;
    const each = (kind, act) => this.stage.addEventListener(kind, (next) => { if (next.pointerId === pointer) act(next); }, { signal: watch.signal });
    event.preventDefault();
    event.target.closest(".box")?.focus({ preventScroll: true });
    this.stage.setPointerCapture(pointer);
    each("pointermove", (next) => {
      const now = this.place(next), by = { x: now.x - start.x, y: now.y - start.y };
      going ||= Math.hypot(by.x, by.y) > TAP;
      if (going) step(box, by);
    });
    each("pointerup", () => { watch.abort(); ended(going); });
    each("pointercancel", () => { watch.abort(); if (going) step(box, { x: 0, y: 0 }); ended(false); });
  }

  press(event) {
    const frame = this.frames.get(event.target), by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!frame || !by || !this.told.ready()) return;
    event.preventDefault();
    const step = { x: by[0], y: by[1] };
    this.change(frame, event.shiftKey ? resized(frame.box, "se", step) : moved(frame.box, step));
  }

  change(frame, box) { frame.draft = false; frame.put(box); this.told.changed(frame); }

  place(event) {
    const photo = this.stage.getBoundingClientRect();
    return { x: (event.clientX - photo.left) / photo.width, y: (event.clientY - photo.top) / photo.height };
  }
}
