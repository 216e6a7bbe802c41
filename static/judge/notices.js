// What the page tells her: a sentence, how her votes are doing, and why nothing is in sight.
import { find, findAll, hear, home, main, page } from "./page.js";

export function tell(sentence) {
  const notice = find("[data-told]");
  notice.textContent = sentence ?? "";
  notice.hidden = !sentence;
}

export function showWaiting() {
  const state = page.phase === "waiting" ? find(".sync").dataset.state : "";
  find("[data-waiting]").hidden = state !== "unsynced";
  find("[data-locked]").hidden = state !== "login";
  page.section.hidden = state === "unsynced" || state === "login";
}

hear("shown", showWaiting);
hear("sync", ({ state, count }) => {
  find(".sync").dataset.state = state;
  for (const number of findAll("[data-count]")) number.textContent = count;
  for (const link of findAll(".sync a, [data-locked] a")) link.href = `${main.dataset.login}?next=${encodeURIComponent(home)}`;
  showWaiting();
});
