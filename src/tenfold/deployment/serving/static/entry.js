// A picture and what the model says of it.

import { predict } from "./server.js";

const MOST_BARS = 10;

// With less, or with a smaller lead on the second, an answer is called unsure.
export const LEAST_PROBABILITY = 0.5;
export const LEAST_LEAD = 0.2;

export const isUnsure = ([first, second]) =>
  first.probability < LEAST_PROBABILITY ||
  (second !== undefined && first.probability - second.probability < LEAST_LEAD);

export class Entry {
  #answers = new Map(); // by whether the picture was inverted
  looksInverted = false;
  isInverted = false; // whether the answer is that for the inverted picture
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
    return this.#answers.get(this.isInverted);
  }

  get top() {
    return this.answer.top;
  }

  // Ask for the answer; a picture that looks inverted is inverted the first time.
  async answered(model, signal) {
    if (!this.#answers.has(this.looksInverted)) {
      if (!this.#answers.has(false)) {
        this.looksInverted = (await this.#ask(model, false, signal)).inverted;
      }
      if (this.looksInverted) await this.#ask(model, true, signal);
      this.isInverted = this.looksInverted;
    }
    return this;
  }

  async invert(model, isInverted, signal) {
    if (!this.#answers.has(isInverted)) await this.#ask(model, isInverted, signal);
    this.isInverted = isInverted;
  }

  // Ask for the reasons for the answer, as an address of a picture to lay over `answer.seen`.
  async explained(signal) {
    const { answer, isInverted } = this;
    if (!answer.explanation) {
      const reasons = await predict(this, { invert: isInverted, explain: true, signal });
      answer.explanation = reasons.explanation;
    }
  }

  async #ask(model, invert, signal) {
    const top = Math.min(MOST_BARS, model.classes.length);
    const answer = await predict(this, { top, invert, signal });
    this.#answers.set(invert, answer);
    return answer;
  }
}
