// Elements of the page: by their id, and new ones.

export const byId = (id) => document.getElementById(id);

// A new element. Of its attributes, a function becomes a listener, as in { click: save }, and `true`
// an empty attribute; undefined, null and false are left out, also of the children.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      made.addEventListener(name, value);
    } else if (!LEFT_OUT.includes(value)) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => !LEFT_OUT.includes(child)));
  return made;
}

const LEFT_OUT = [undefined, null, false];

export const button = (text, click, attributes = {}) =>
  element("button", { type: "button", click, ...attributes }, text);

// A class name of any script, kept apart from the direction of the text around it.
export const className = (name) => element("bdi", {}, name);
