// The last answers, newest first: to see again, to remove, and to get back.

import { byId, button, className, element } from "./dom.js";
import { isUnsure } from "./entry.js";
import { percent, say } from "./words.js";

const MOST = 24;

export class History {
  #entries = [];
  #removed = []; // { entry, place }, the last one last
  #shown = null;
  #show;

  // `show(entry)` is called with the entry that was chosen.
  constructor(show) {
    this.#show = show;
    byId("restore").addEventListener("click", () => this.#restore());
  }

  // Put an entry first, in place of an earlier state of the same drawing if there is one.
  put(entry, former) {
    const others = this.#entries.filter((e) => e !== former && e !== entry);
    this.#entries = [entry, ...others].slice(0, MOST);
  }

  keep(entry) {
    if (!this.#entries.includes(entry)) this.put(entry);
  }

  // The entry of a drawing, by its list of strokes.
  ofStrokes(strokes) {
    return this.#entries.find((entry) => entry.strokes === strokes);
  }

  render(shown = this.#shown) {
    this.#shown = shown;
    byId("history").hidden = !this.#entries.length && !this.#removed.length;
    byId("entries").replaceChildren(...this.#entries.map((entry) => this.#item(entry)));
    byId("restore").hidden = !this.#removed.length;
  }

  #item(entry) {
    const [best] = entry.top;
    const name = best.class;
    const values = { name, share: percent(best.probability) };
    return element(
      "li",
      {},
      element(
        "button",
        {
          type: "button",
          class: "entry",
          "aria-label": say("showAgain", values),
          "aria-current": entry === this.#shown && "true",
          title: entry.name || null,
          click: () => this.#show(entry),
        },
        element("img", { src: entry.answer.seen, alt: "" }),
        element("span", { class: "name" }, className(name), isUnsure(entry.top) ? "?" : ""),
      ),
      button("×", () => this.#remove(entry), {
        class: "remove",
        "aria-label": say("remove", { name }),
      }),
    );
  }

  #remove(entry) {
    const place = this.#entries.indexOf(entry);
    this.#entries.splice(place, 1);
    this.#removed.push({ entry, place });
    this.render();
    byId("restore").focus();
  }

  #restore() {
    const { entry, place } = this.#removed.pop();
    this.#entries.splice(place, 0, entry);
    this.render();
    byId("entries").children[Math.min(place, this.#entries.length - 1)]
      .querySelector(".entry")
      .focus();
  }
}
