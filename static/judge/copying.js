// A button on each block of code: who wants to run it takes it whole, as it was written.
import { find, findAll, hear, words } from "./page.js";

hear("shown", () => {
  for (const block of findAll(".comparison .prose pre:not(.code pre)")) {
    const frame = document.createElement("div");
    frame.className = "code";
    block.replaceWith(frame);
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "button", textContent: words.copy });
    button.dataset.variant = "quiet";
    button.dataset.copies = "";
    frame.append(block, button);
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const block = find("pre", button.parentElement);
  try {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = words.copied;
  } catch {
    getSelection().selectAllChildren(block); // without TLS the browser lends no clipboard: a key copies what is marked
    button.textContent = words.marked;
  }
  setTimeout(() => (button.textContent = words.copy), 1500);
});
