// Problems, shown where they arise.

import { button, byId, element } from "./dom.js";
import { Problem } from "./server.js";
import { say } from "./words.js";

// A place for one problem, in an element of the page.
export class ProblemPlace {
  #place;
  #shown = null;

  constructor(id) {
    this.#place = byId(id);
  }

  // Show a problem: its headline, what the server said, what to do, and a way to try again.
  // `describe` returns { headline, message, remedy } in the current language.
  show(describe, again = null) {
    this.#shown = { describe, again };
    this.render();
    this.#place.scrollIntoView({ block: "nearest" });
  }

  clear() {
    this.#shown = null;
    this.#place.replaceChildren();
  }

  render() {
    if (!this.#shown) return;
    const { describe, again } = this.#shown;
    const { headline, message = "", remedy = "", lang } = describe();
    const told = [message, remedy].filter(Boolean).map(asSentence).join(" ");
    this.#place.replaceChildren(
      element(
        "div",
        { class: "problem", role: "alert" },
        element("p", {}, element("strong", {}, headline)),
        told !== "" && element("p", { lang }, told),
        element(
          "p",
          { class: "row" },
          again && button(say("tryAgain"), () => (this.clear(), again())),
          button(say("dismiss"), () => this.clear()),
        ),
      ),
    );
  }
}

// The server's words, as a sentence. What begins with the name of a file keeps it as it is.
const asSentence = (text) =>
  (/^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text) +
  (/[.!?。！？]$/.test(text) ? "" : ".");

// What to show of an error of a request. Other errors are faults of the page itself.
export function described(error, refused = "refused") {
  if (!(error instanceof Problem)) throw error;
  const { kind, message, remedy } = error;
  if (kind === "unreachable") {
    return { headline: say("unreachable"), remedy: say("unreachableRemedy") };
  }
  if (kind === "busy") return { headline: say("busy"), remedy: say("busyRemedy") };
  return { headline: say(kind === "failed" ? "failed" : refused), message, remedy, lang: "en" };
}
