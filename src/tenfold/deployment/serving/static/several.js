// Several pictures at once: a list of their answers.

import { byId, button, className, element } from "./dom.js";
import { isUnsure } from "./entry.js";
import { described } from "./problems.js";
import { number, percent, say } from "./words.js";

const AT_ONCE = 3;

const without = (start, text) => (text.startsWith(start) ? text.slice(start.length) : text);

export class Several {
  #rows = []; // { entry, state: "waiting" | "answered" | "failed", error }
  #asking = null;
  #answer;
  #show;

  // `answer(entry, signal)` resolves once the entry has its answer; `show(entry)` shows it.
  constructor(answer, show) {
    this.#answer = answer;
    this.#show = show;
  }

  async begin(entries) {
    this.close();
    this.#rows = entries.map((entry) => ({ entry, state: "waiting" }));
    this.render();
    await this.#askFor(this.#rows);
  }

  close() {
    this.#asking?.abort();
    this.#rows = [];
    this.render();
  }

  async #askFor(rows) {
    this.#asking?.abort();
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    const left = [...rows];
    const work = async () => {
      while (left.length && !signal.aborted) await this.#ask(left.shift(), signal);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async #ask(row, signal) {
    try {
      await this.#answer(row.entry, signal);
      row.state = "answered";
    } catch (error) {
      if (signal.aborted) return;
      Object.assign(row, { state: "failed", error });
    }
    if (!signal.aborted) this.render();
  }

  #again() {
    const failed = this.#rows.filter(({ state, error }) => state === "failed" && error.mayPass);
    for (const row of failed) row.state = "waiting";
    this.render();
    return this.#askFor(this.#rows.filter(({ state }) => state === "waiting"));
  }

  render() {
    if (!this.#rows.length) {
      byId("several").replaceChildren();
      return;
    }
    const mayPass = this.#rows.some(({ state, error }) => state === "failed" && error.mayPass);
    const count = number(this.#rows.length);
    byId("several").replaceChildren(
      element("h3", { id: "several-title" }, say("several", { count })),
      element(
        "ol",
        { "aria-labelledby": "several-title" },
        ...this.#rows.map((row) => element("li", {}, ...this.#cells(row))),
      ),
      element(
        "p",
        { class: "row" },
        mayPass && button(say("tryAgain"), () => this.#again()),
        button(say("closeList"), () => this.close()),
      ),
    );
  }

  #cells({ entry, state, error }) {
    const name = element("span", { class: "file" }, className(entry.name));
    if (state === "waiting") return [name, element("span", { class: "soft" }, say("waiting"))];
    if (state === "failed") {
      const { headline, message = "", lang } = described(error);
      const told = without(`${entry.name}: `, message) || headline;
      return [name, element("span", { class: "refused", lang: message ? lang : null }, told)];
    }
    const [best] = entry.top;
    const unsure = isUnsure(entry.top) && element("span", { class: "unsure" }, say("unsure"));
    return [
      element(
        "button",
        { type: "button", class: "entry", click: () => this.#show(entry) },
        element("img", { src: entry.answer.seen, alt: "" }),
        name,
        element("strong", {}, className(best.class)),
        element("span", { class: "share" }, percent(best.probability)),
        unsure,
      ),
    ];
  }
}
