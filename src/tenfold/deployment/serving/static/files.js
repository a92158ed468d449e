// Pictures from files: chosen, photographed, dropped on the page or pasted.

import { byId } from "./dom.js";

// Calls `pictures(files)` with each lot of files, and `nothing()` if what was pasted has none.
export function takePictures({ pictures, nothing }) {
  for (const input of [byId("choose"), byId("photo")]) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // so that the same file can be chosen again
      if (files.length) pictures(files);
    });
  }
  takeDropped(pictures);
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input[type=password]")) return;
    event.preventDefault();
    const files = [...event.clipboardData.files];
    if (files.length) pictures(files);
    else nothing();
  });
}

function takeDropped(pictures) {
  const mark = (isOver) => byId("drop").classList.toggle("over", isOver);
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) mark(false); // it left the window
  });
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    pictures([...event.dataTransfer.files]);
  });
}
