// The pad: strokes drawn with mouse, finger or pen, with undo.

import { ON_PAD, drawStrokes } from "./picture.js";

const STEP = 0.004; // shortest distance of two points, as a share of the pad's width

// Sends "change" after each stroke, undo and clearing. `strokes` is a new list after each change.
export class Pad extends EventTarget {
  #canvas;
  #colors;
  #past = []; // earlier values of `strokes`
  #stroke = null; // the one being drawn
  #pointer = null; // what draws it
  strokes = [];

  constructor(canvas, [height, width], colors) {
    super();
    this.#canvas = canvas;
    this.#colors = colors;
    canvas.style.aspectRatio = `${width} / ${height}`;
    canvas.style.backgroundColor = colors.paper;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    canvas.addEventListener("pointerup", (event) => this.#end(event));
    canvas.addEventListener("lostpointercapture", (event) => this.#lose(event));
    new ResizeObserver(() => this.#paint()).observe(canvas);
  }

  get mayUndo() {
    return this.#past.length > 0;
  }

  undo() {
    if (this.#stroke || !this.mayUndo) return;
    this.strokes = this.#past.pop();
    this.#changed();
  }

  clear() {
    if (this.strokes.length) this.#set([]);
  }

  // Show other strokes, without "change"; undo brings back those of now.
  show(strokes) {
    if (strokes === this.strokes || (!strokes.length && !this.strokes.length)) return;
    this.#past.push(this.strokes);
    this.strokes = strokes;
    this.#paint();
  }

  #set(strokes) {
    this.#past.push(this.strokes);
    this.strokes = strokes;
    this.#changed();
  }

  #changed() {
    this.#paint();
    this.dispatchEvent(new Event("change"));
  }

  #begin(event) {
    if (this.#stroke || event.button !== 0) return;
    event.preventDefault();
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#stroke = [this.#place(event)];
    this.#paint();
  }

  #go(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#add(this.#place(each));
    this.#paint();
  }

  #add([x, y]) {
    const [lastX, lastY] = this.#stroke.at(-1);
    if (Math.hypot(x - lastX, y - lastY) >= STEP) this.#stroke.push([x, y]);
  }

  #end(event) {
    if (event.pointerId !== this.#pointer) return;
    const stroke = this.#stroke;
    this.#giveUp();
    this.#set([...this.strokes, stroke]);
  }

  // A stroke whose pointer went another way, such as into a gesture of the system, is dropped.
  #lose(event) {
    if (event.pointerId === this.#pointer) this.#giveUp();
  }

  #giveUp() {
    this.#stroke = this.#pointer = null;
    this.#paint();
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.width];
  }

  #paint() {
    const canvas = this.#canvas;
    const box = canvas.getBoundingClientRect();
    const context = canvas.getContext("2d");
    const [width, height] = [box.width, box.height].map((s) => Math.round(s * devicePixelRatio));
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
    }
    context.clearRect(0, 0, width, height);
    const whole = { scale: width, left: 0, top: 0 };
    const strokes = this.#stroke ? [...this.strokes, this.#stroke] : this.strokes;
    drawStrokes(context, strokes, whole, ON_PAD * width, this.#colors.ink);
  }
}
