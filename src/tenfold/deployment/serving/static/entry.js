// A picture and what the model says of it.

import { predict } from "./server.js";

const MOST_BARS = 10;

// With less, or with a smaller lead on the second, an answer is called unsure.
export const LEAST_PROBABILITY = 0.5;
export const LEAST_LEAD = 0.2;

export const isUnsure = ([first, second]) =>
  first.probability < LEAST_PROBABILITY ||
  (second !== undefined && first.probability - second.probability < LEAST_LEAD);

const UNCHANGED = { invert: false, center: false };
const keyOf = ({ invert, center }) => `${invert} ${center}`;

export class Entry {
  #answers = new Map(); // by how the picture was changed
  #isAnswered = false;
  #wanted = UNCHANGED; // the newest of the changes that were asked for
  // How the picture differs from the training images, { inverted, uncentered }, once that is known.
  looks = { inverted: false, uncentered: false };
  changes = UNCHANGED; // the server's, to the picture that the answer is for
  saved = null; // { path, label } once it was collected
  isChanging = false; // while it is collected or taken back

  // A drawing has strokes, a picture a name.
  constructor(blob, { name = "", strokes = null }) {
    this.blob = blob;
    this.name = name;
    this.strokes = strokes;
  }

  // The server's prediction, once `answered` has resolved.
  get answer() {
    return this.#answers.get(keyOf(this.changes));
  }

  get top() {
    return this.answer.top;
  }

  // Ask for the answer. The first time, a picture whose subject is not like the training images' is
  // cropped to it, which also inverts it if need be, and another is inverted that looks inverted;
  // drawings are centered already.
  async answered(model, signal) {
    if (!this.#isAnswered) {
      const { inverted, uncentered } = await this.#ask(model, UNCHANGED, signal);
      const looks = { inverted, uncentered: uncentered && !this.strokes };
      const center = looks.uncentered;
      const changes = { invert: looks.inverted && !center, center };
      await this.#ask(model, changes, signal);
      Object.assign(this, { looks, changes });
      this.#wanted = changes;
      this.#isAnswered = true;
    }
    return this;
  }

  // Change the picture in another way: `changes` has what is to be different.
  async change(model, changes, signal) {
    const wanted = { ...this.#wanted, ...changes };
    this.#wanted = wanted;
    try {
      await this.#ask(model, wanted, signal);
    } catch (error) {
      if (this.#wanted === wanted) this.#wanted = this.changes; // nothing newer was asked for
      throw error;
    }
    this.changes = wanted;
  }

  // Ask for the reasons for the answer, as an address of a picture to lay over `answer.seen`.
  async explained(signal) {
    const { answer } = this;
    if (!answer.explanation) {
      const reasons = await predict(this, { changes: this.changes, explain: true, signal });
      answer.explanation = reasons.explanation;
    }
  }

  async #ask(model, changes, signal) {
    const key = keyOf(changes);
    if (!this.#answers.has(key)) {
      const top = Math.min(MOST_BARS, model.classes.length);
      this.#answers.set(key, await predict(this, { top, changes, signal }));
    }
    return this.#answers.get(key);
  }
}
