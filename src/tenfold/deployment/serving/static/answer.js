// The answer to one picture: in words, as bars, and over the picture as the network sees it.

import { button, className, element } from "./dom.js";
import { isUnsure } from "./entry.js";
import { number, percent, say } from "./words.js";

const share = (guess) => percent(guess.probability);

// The elements for an answer. `actions` are { change(changes), explain(isWanted) }.
export function answerElements(entry, model, isExplained, actions) {
  return [
    best(entry),
    changesElement(entry, model, actions),
    element(
      "div",
      { class: "parts" },
      bars(entry, model),
      seenElement(entry, model, isExplained, actions),
    ),
  ];
}

function best(entry) {
  const [first] = entry.top;
  return element(
    "div",
    { class: "best" },
    entry.name !== "" && element("p", { class: "soft file" }, className(entry.name)),
    element(
      "p",
      { class: "line" },
      element("strong", {}, className(first.class)),
      element("span", { class: "share" }, share(first)),
      isUnsure(entry.top) && element("span", { class: "unsure" }, say("unsure")),
    ),
  );
}

// The answer in one sentence, for those who hear it.
export function sentence(entry) {
  const [first, second] = entry.top;
  const values = { name: first.class, share: share(first) };
  let answer = say("announce", values);
  if (isUnsure(entry.top) && second) {
    const other = { second: second.class, secondShare: share(second) };
    answer = say("announceUnsure", { ...values, ...other });
  }
  const { invert, center } = entry.changes;
  if (invert && center) return say("announceBoth", { answer });
  if (invert) return say("announceInverted", { answer });
  return center ? say("announceCropped", { answer }) : answer;
}

// How the picture differs from the training images, where the model can tell, with switches for
// what was changed to mend that.
function changesElement(entry, model, { change }) {
  if (!model.background || entry.strokes) return null;
  const { answer, looks, changes } = entry;
  const shade = model.background.shade === "dark" ? "Dark" : "Light";
  const isInverted = changes.center ? answer.inverted : looks.inverted;
  const notes = [
    isInverted && say(`${changes.invert && !changes.center ? "inverted" : "straight"}${shade}`),
    looks.uncentered && say(changes.center ? cropped(entry) : "whole"),
  ].filter(Boolean);
  return element(
    "div",
    { class: notes.length ? "changes note" : "changes" },
    ...notes.map((note) => element("p", {}, note)),
    checkbox("inverted", say("invert"), changes.invert, (invert) => change({ invert })),
    // Cropping inverts a picture that looks inverted.
    checkbox("cropped", say("crop"), changes.center, (center) =>
      change(looks.inverted ? { center, invert: !center } : { center }),
    ),
  );
}

const cropped = ({ answer }) => (answer.uncentered ? "notFound" : "cropped");

function checkbox(id, text, isChecked, changed) {
  const box = element("input", { type: "checkbox", id, change: () => changed(box.checked) });
  box.checked = isChecked;
  return element("label", { class: "check" }, box, text);
}

function bars(entry, { classes }) {
  const isWhole = entry.top.length === classes.length;
  const shown = isWhole ? entry.top.toSorted((a, b) => a.label - b.label) : entry.top;
  const counts = { shown: number(shown.length), count: number(classes.length) };
  const caption = isWhole ? say("allClasses") : say("mostProbable", counts);
  return element(
    "div",
    { class: "bars" },
    element("h3", { id: "bars-title" }, caption),
    element(
      "ol",
      { "aria-labelledby": "bars-title" },
      ...shown.map((guess) => bar(guess, guess === entry.top[0])),
    ),
  );
}

function bar(guess, isBest) {
  const filled = element("span", { class: "filled" });
  filled.style.width = `${100 * guess.probability}%`;
  return element(
    "li",
    { class: isBest && "first" },
    element("span", { class: "name" }, className(guess.class)),
    element("span", { class: "track", "aria-hidden": "true" }, filled),
    element("span", { class: "share" }, share(guess)),
  );
}

// The picture as the network sees it, with the reasons for the answer laid over it.
export function seenElement(entry, model, isExplained, { explain }) {
  const [, height, width] = model.input_shape;
  const size = say("seenSize", { width: number(width), height: number(height) });
  const { answer } = entry;
  const reasons = isExplained && answer.explanation;
  const stack = element(
    "div",
    { class: "stack" },
    element("img", { src: answer.seen, alt: `${say("seen")}: ${size}`, class: "seen" }),
    reasons ? element("img", { src: reasons, alt: "" }) : null,
  );
  stack.style.aspectRatio = `${width} / ${height}`;
  return element(
    "figure",
    { id: "seen" },
    element("h3", {}, say("seen")),
    stack,
    element(
      "figcaption",
      {},
      element("p", { class: "soft" }, size),
      checkbox("explain", say("explain"), isExplained, explain),
      isExplained && legend(entry),
    ),
  );
}

function legend(entry) {
  const { answer } = entry;
  if (answer.explanationProblem) {
    return element("p", {}, say("noExplanation", { message: answer.explanationProblem }));
  }
  const name = answer.top[0].class;
  return element(
    "ul",
    { class: "legend" },
    element("li", { class: "for" }, say("speaksFor", { name })),
    element("li", { class: "against" }, say("speaksAgainst", { name })),
  );
}

// The part that asks for the right answer. `actions` are { save(label), takeBack() }.
export function wrongElements(entry, model, actions) {
  if (entry.saved) {
    return element(
      "p",
      { class: "row saved" },
      element("span", { role: "status" }, say("saved", { name: entry.saved.label })),
      button(say("takeBack"), actions.takeBack, { id: "take-back" }),
    );
  }
  const choice = element("select", { id: "right", required: true });
  choice.append(element("option", { value: "" }, say("chooseClass")));
  for (const name of model.classes) choice.append(element("option", { value: name }, name));
  const form = element(
    "form",
    { class: "row", submit: (event) => (event.preventDefault(), actions.save(choice.value)) },
    element("label", { for: "right" }, say("rightAnswer")),
    choice,
    element("button", { type: "submit" }, say("save")),
  );
  return element(
    "details",
    { id: "wrong" },
    element("summary", {}, say("wrong")),
    form,
    savesElement(entry),
  );
}

// What of the picture is saved with its right answer.
export function savesElement({ changes: { invert, center } }) {
  const saves = center ? "savesSeen" : invert ? "savesInverted" : "savesWhole";
  return element("p", { id: "saves", class: "soft" }, say(saves));
}
