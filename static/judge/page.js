// The page: its parts, and where it stands.
export const main = document.getElementById("main");
export const find = (selector, root = document) => root.querySelector(selector);
export const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
export const isVisible = (element) => element.getClientRects().length > 0;
export const now = () => performance.now();
export const words = find("[data-live]").dataset; // what is said to her, in her language
export const home = main.dataset.home;

export const page = {
  section: find("#comparison"), // the pair in sight, or why there is none
  ready: null, // the next pair: {html, slot, token, at}; a string, for ids are unique in a document
  due: null, // what comes when the flash of a choice is over
  phase: "open", // open, flash, or waiting for an answer
  shownAt: now(),
};

// What happens is told as an event, and whoever has to do with it listens: shown (a pair, or why there is none, is in
// sight: its dataset), sync (the state and the count of the outbox), refused (a vote the server will not have as it is)
// and answer (the server's last word on a vote or a skip).
export const tellAll = (name, detail) => document.dispatchEvent(new CustomEvent(`prefloop:${name}`, { detail }));
export const hear = (name, act) => document.addEventListener(`prefloop:${name}`, (event) => act(event.detail));
