// What the page asks of the server.

const KEPT = "tenfold-token";

// Why a request has no answer. `kind` is "unreachable", "busy", "failed" or "refused"; message and
// remedy are the server's own words, in English.
export class Problem extends Error {
  constructor(kind, message = "", remedy = "") {
    super(message);
    this.kind = kind;
    this.remedy = remedy;
  }

  get mayPass() {
    return this.kind !== "refused";
  }
}

let askForToken = null; // set by `onToken`
let asked = null; // the token that all waiting requests wait for

// Have `ask` called for a token, with whether one was refused; it returns a promise of it.
export function onToken(ask) {
  askForToken = ask;
}

let token = keptToken();

function keptToken() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null; // storage is switched off in this browser
  }
}

async function newToken(isRefused) {
  asked ??= askForToken(isRefused).finally(() => (asked = null));
  token = await asked;
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {
    // it is kept until the page is closed
  }
}

// One request; asks for a token as often as the server does.
async function request(path, options) {
  for (;;) {
    const used = token;
    const headers = used === null ? {} : { Authorization: `Bearer ${used}` };
    const response = await fetched(path, { ...options, headers });
    if (response.status !== 401) return checked(response);
    if (used === token) await newToken(used !== null);
    options.signal?.throwIfAborted();
  }
}

async function fetched(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("unreachable");
  }
}

async function checked(response) {
  if (response.ok) return response;
  const { status } = response;
  const kind = status === 429 || status === 503 ? "busy" : status >= 500 ? "failed" : "refused";
  const told = await response.json().catch(() => ({}));
  const { message, remedy } = told.error ?? {};
  throw new Problem(kind, message ?? `${status} ${response.statusText}`, remedy ?? "");
}

const json = async (path, options = {}) => {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("unreachable"); // it broke off
  }
};

export const model = () => json("model");

// What the model says of one picture, `{blob, name}`, after these changes; a drawing has no name.
// With `explain`, the reasons alone.
export async function predict(picture, { top = 1, changes, explain = false, signal }) {
  const query = new URLSearchParams({ top, ...changes, explain, seen: !explain });
  const body = picture.name ? form(picture) : picture.blob;
  const answer = await json(`predict?${query}`, { method: "POST", body, signal });
  return answer.predictions[0];
}

// Save a picture as the model got it, `{blob, name, changes}`, with its right class.
export async function collect(picture, label) {
  const query = new URLSearchParams(picture.changes);
  const body = form(picture);
  body.append("label", label);
  return (await json(`collect?${query}`, { method: "POST", body })).saved;
}

function form({ blob, name }) {
  const made = new FormData();
  made.append("file", blob, name || "drawing.png");
  return made;
}

export const takeBack = (saved) =>
  request(`collect/${saved.split("/").map(encodeURIComponent).join("/")}`, { method: "DELETE" });
