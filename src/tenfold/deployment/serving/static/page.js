// The page of a served model: what is drawn or chosen, and what the model says of it.

import { answerElements, savesElement, seenElement, sentence, wrongElements } from "./answer.js";
import { byId, element } from "./dom.js";
import { Entry, LEAST_LEAD, LEAST_PROBABILITY } from "./entry.js";
import { takePictures } from "./files.js";
import { History } from "./history.js";
import { Pad } from "./pad.js";
import { COLORS, pictureOf } from "./picture.js";
import { ProblemPlace, described } from "./problems.js";
import * as server from "./server.js";
import { Several } from "./several.js";
import * as words from "./words.js";

const { say } = words;

const AFTER_A_STROKE = 40; // milliseconds without a change, until an answer is asked for
const BEFORE_REASONS = 150; // the same for the reasons, which take longer to compute

const MOST_NAMED = 10; // classes that are all named at the top of the page
const SOME_NAMED = 6; // of more

// Replace elements; if the one with the focus is replaced, the new one of the same id gets it.
function keepingFocus(replace) {
  const { id } = document.activeElement ?? {};
  replace();
  if (id) byId(id)?.focus();
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

class Page {
  #model;
  #shown = null; // the entry whose answer is shown
  #drawing = null; // that of the drawing on the pad, which its next stroke replaces
  #asking = new AbortController(); // aborted by the next picture: a late answer is dropped
  #isExplained = true;
  #problems = {
    page: new ProblemPlace("page-problem"),
    answer: new ProblemPlace("answer-problem"),
    files: new ProblemPlace("files-problem"),
  };
  #pad;
  #history = new History((entry) => this.#show(entry));
  #several = new Several(
    (entry, signal) => entry.answered(this.#model, signal),
    (entry) => {
      this.#history.keep(entry);
      this.#show(entry);
    },
  );

  async start() {
    this.#renderWords();
    byId("language").addEventListener("click", () => {
      words.use(words.other());
      this.#renderWords();
    });
    await this.#trying("page", () => this.#load());
  }

  async #load() {
    this.#model = await server.model();
    const [, ...size] = this.#model.input_shape;
    const { background } = this.#model;
    this.#pad = new Pad(byId("pad"), size, COLORS[background?.shade ?? "light"]);
    this.#pad.addEventListener("change", () => this.#drawn());
    if (!background) {
      byId("answer").before(byId("files"));
      byId("answer").after(byId("drawing"));
    }
    byId("main").classList.toggle("files-first", !background);
    byId("main").hidden = byId("footer").hidden = false;
    this.#listen();
    this.#renderWords();
    this.#showNothing();
  }

  #listen() {
    byId("undo").addEventListener("click", () => this.#pad.undo());
    byId("clear").addEventListener("click", () => this.#pad.clear());
    document.addEventListener("keydown", (event) => {
      const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z";
      if (!isUndo || event.target.closest("input[type=password]")) return;
      event.preventDefault();
      this.#pad.undo();
    });
    takePictures({
      pictures: (pictures) => this.#chosen(pictures),
      nothing: () =>
        this.#problems.files.show(() => ({
          headline: say("nothingPasted"),
          remedy: say("nothingPastedRemedy"),
        })),
    });
  }

  // Run something; a problem of it is shown in a place, where it can be tried again.
  async #trying(place, run, refused) {
    try {
      await run();
    } catch (error) {
      if (error.name === "AbortError") return;
      described(error, refused);
      const again = error.mayPass ? () => this.#trying(place, run, refused) : null;
      this.#problems[place].show(() => described(error, refused), again);
    }
  }

  // Begin to ask for another answer: the signal of it is aborted when the next one begins.
  #begin() {
    this.#asking.abort();
    this.#asking = new AbortController();
    this.#problems.answer.clear();
    this.#problems.files.clear();
    this.#setBusy(false);
    return this.#asking.signal;
  }

  #setBusy(isBusy) {
    byId("answer").setAttribute("aria-busy", isBusy);
  }

  async #drawn() {
    const signal = this.#begin();
    const { strokes } = this.#pad;
    this.#renderTools();
    const known = this.#history.ofStrokes(strokes);
    if (!strokes.length || known) {
      this.#drawing = known ?? null;
      return known ? this.#show(known) : this.#showNothing();
    }
    this.#setBusy(true);
    await pause(AFTER_A_STROKE);
    if (signal.aborted) return;
    await this.#trying("answer", async () => {
      const [, ...size] = this.#model.input_shape;
      const blob = pictureOf(strokes, size, this.#model.background);
      const entry = new Entry(blob, { strokes });
      await this.#answer(entry, signal, this.#drawing);
    });
  }

  async #chosen(pictures) {
    const isOne = pictures.length === 1;
    const signal = isOne ? this.#begin() : null; // several are asked for beside what is shown
    this.#problems.files.clear();
    this.#several.close();
    const entries = [];
    for (const picture of pictures) {
      const problem = await this.#unusable(picture);
      if (problem) this.#problems.files.show(problem);
      else entries.push(new Entry(picture, { name: picture.name || say("pasted") }));
    }
    if (!entries.length || signal?.aborted) return;
    if (isOne) await this.#trying("files", () => this.#answer(entries[0], signal));
    else await this.#several.begin(entries);
  }

  // How to describe why a picture is not sent at all; null if it can be.
  async #unusable(picture) {
    const { name } = picture;
    const most = this.#model.limits.body_bytes;
    if (picture.size > most) {
      const [size, limit] = [picture.size, most].map((bytes) => words.number(bytes / 2 ** 20, 1));
      return () => ({
        headline: say("tooLarge", { name, size, most: limit }),
        remedy: say("tooLargeRemedy"),
      });
    }
    try {
      await picture.slice(0, 1).arrayBuffer();
      return null;
    } catch {
      return () => ({ headline: say("unreadable", { name }), remedy: say("unreadableRemedy") });
    }
  }

  // Ask for the answer to a picture, and show it; `former` is an earlier state of the same one.
  async #answer(entry, signal, former = null) {
    this.#setBusy(true);
    try {
      await entry.answered(this.#model, signal);
      signal.throwIfAborted();
    } catch (error) {
      if (!signal.aborted) this.#showNothing(); // an earlier answer would be taken for this one
      throw error;
    } finally {
      if (!signal.aborted) this.#setBusy(false);
    }
    this.#history.put(entry, former);
    this.#nowShown(entry, signal);
  }

  // Show an answer that is here, and its drawing on the pad.
  #show(entry) {
    const signal = this.#begin();
    this.#nowShown(entry, signal);
  }

  #nowShown(entry, signal) {
    const isShown = entry === this.#shown;
    this.#shown = entry;
    this.#drawing = entry.strokes ? entry : null;
    this.#pad.show(entry.strokes ?? []);
    this.#renderAnswer();
    if (isShown) byId("saves")?.replaceWith(savesElement(entry));
    else this.#renderWrong(); // which would forget a right answer that was chosen
    byId("announcement").textContent = sentence(entry);
    this.#explain(entry, signal);
  }

  #showNothing() {
    this.#shown = null;
    this.#renderAnswer();
    this.#renderWrong();
    byId("announcement").textContent = "";
  }

  async #explain(entry, signal) {
    if (!this.#isExplained || entry.answer.explanation) return;
    const { answer } = entry;
    await pause(BEFORE_REASONS);
    if (signal.aborted) return;
    try {
      await entry.explained(signal);
      answer.explanationProblem = null;
    } catch (error) {
      if (error.name === "AbortError") return;
      const { headline, message } = described(error);
      answer.explanationProblem = message || headline;
    }
    if (this.#shown === entry) this.#renderSeen();
  }

  async #changePicture(changes) {
    const [entry, signal] = [this.#shown, this.#begin()];
    await this.#trying("answer", async () => {
      await entry.change(this.#model, changes, signal);
      this.#nowShown(entry, signal);
    });
    this.#renderAnswer();
  }

  #setExplained(isExplained) {
    this.#isExplained = isExplained;
    this.#renderSeen();
    this.#explain(this.#shown, this.#asking.signal);
  }

  async #save(entry, label) {
    const save = async () => {
      if (entry.saved) return;
      const path = await server.collect(entry, label);
      entry.saved = { path, label };
      this.#renderWrong();
      byId("take-back")?.focus();
    };
    await this.#change(entry, save, "notSaved");
  }

  async #takeBack(entry) {
    const takeBack = async () => {
      if (!entry.saved) return;
      await server.takeBack(entry.saved.path);
      entry.saved = null;
      this.#renderWrong();
      byId("announcement").textContent = say("takenBack");
      byId("wrong")?.querySelector("summary").focus();
    };
    await this.#change(entry, takeBack, "notTakenBack");
  }

  // Change what is collected of an entry, unless that is being done already.
  async #change(entry, run, refused) {
    const once = async () => {
      if (entry.isChanging) return;
      entry.isChanging = true;
      this.#problems.answer.clear();
      try {
        await run();
      } finally {
        entry.isChanging = false;
      }
    };
    await this.#trying("answer", once, refused);
  }

  #renderAnswer() {
    const entry = this.#shown;
    const noAnswer = this.#model.background ? "noAnswer" : "noAnswerFilesFirst";
    const shown = entry
      ? answerElements(...this.#answerFacts())
      : [element("p", { class: "soft empty" }, say(noAnswer))];
    keepingFocus(() => byId("answer-body").replaceChildren(...shown.filter(Boolean)));
    this.#history.render(entry);
    this.#renderTools();
  }

  #renderTools() {
    byId("undo").disabled = !this.#pad.mayUndo;
    byId("clear").disabled = !this.#pad.strokes.length;
  }

  #renderSeen() {
    keepingFocus(() => byId("seen").replaceWith(seenElement(...this.#answerFacts())));
  }

  #answerFacts() {
    const actions = {
      change: (changes) => this.#changePicture(changes),
      explain: (isWanted) => this.#setExplained(isWanted),
    };
    return [this.#shown, this.#model, this.#isExplained, actions];
  }

  #renderWrong() {
    const entry = this.#shown;
    const isOffered = entry && this.#model.collect;
    const actions = {
      save: (label) => this.#save(entry, label),
      takeBack: () => this.#takeBack(entry),
    };
    const shown = isOffered ? [wrongElements(entry, this.#model, actions)] : [];
    byId("answer-wrong").replaceChildren(...shown);
  }

  #renderWords() {
    words.fillIn(document);
    const other = words.other();
    byId("language").textContent = words.nameOf(other);
    byId("language").lang = words.tagOf(other);
    byId("title").textContent = say("title");
    byId("help").replaceChildren(
      ...words
        .sayAll("helpItems", {
          least: words.percent(LEAST_PROBABILITY),
          lead: words.number(100 * LEAST_LEAD),
        })
        .map((text) => element("li", {}, text)),
    );
    for (const place of Object.values(this.#problems)) place.render();
    if (!this.#model) return;
    this.#renderModel();
    this.#renderAnswer();
    this.#renderWrong();
    this.#several.render();
  }

  #renderModel() {
    const { name, model, classes, data, figures, sha256, version } = this.#model;
    document.title = `${name} · tenfold`;
    const named = classes.length > MOST_NAMED ? classes.slice(0, SOME_NAMED) : classes;
    const more = classes.length - named.length;
    const values = { name, model, source: data.source ?? "?", count: words.number(classes.length) };
    const names = named.map(words.isolated).join(say("between"));
    const list = more ? `${names}${say("more", { count: words.number(more) })}` : names;
    const about = [say("about", { ...values, classes: list })];
    if (figures.test_acc !== undefined && figures.n_test !== undefined) {
      const count = words.number(figures.n_test);
      about.push(say("aboutTest", { share: words.percent(figures.test_acc, 1), count }));
    }
    byId("about").textContent = about.join(say("afterSentence"));
    byId("facts").textContent = say("facts", {
      version: `tenfold ${version}`,
      sha: sha256.slice(0, 12),
    });
  }
}

// Show the form for the token, until one is entered.
function askForToken(isRefused) {
  const form = byId("token-form");
  byId("token-wrong").hidden = !isRefused;
  form.hidden = false;
  byId("token").focus();
  return new Promise((resolve) => {
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        form.hidden = true;
        resolve(byId("token").value.trim());
        byId("token").value = "";
      },
      { once: true },
    );
  });
}

server.onToken(askForToken);
new Page().start();
