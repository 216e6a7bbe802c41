// The pair in sight, and the one that is ready behind it.
import { find, main, now, page, tellAll, words } from "./page.js";

const parse = (html) => find("#comparison", Object.assign(document.createElement("template"), { innerHTML: html }).content);

// What an answer brings: its dataset and its text; null where it brings no pair, nor why there is none.
export function readAnswer(answer) {
  const fresh = parse(answer.html);
  return fresh && { ...fresh.dataset, html: answer.html, at: now(), address: answer.address };
}

export function show(pair, said) {
  const fresh = parse(pair.html);
  page.section.replaceWith(fresh);
  Object.assign(page, { section: fresh, phase: "open", due: null });
  const stamp = find("[name=shown_at]", fresh);
  if (stamp && pair.standing === "next") stamp.value = new Date(Date.parse(stamp.value) + now() - pair.at).toISOString();
  if (pair.address) history.replaceState(null, "", pair.address);
  begin();
  scrollTo({ top: 0 });
  fresh.focus({ preventScroll: true });
  find("[data-live]").textContent = said || fresh.dataset.announcement;
}

export function begin() {
  page.shownAt = now();
  tellAll("shown", page.section.dataset);
}

export function keep(pair) {
  page.ready = pair;
  main.dataset.reserve = pair ? "ready" : "";
}

export function settle(pair) {
  if (page.phase === "flash") page.due = pair;
  else show(pair);
}

export const sayPassed = (act) => words[act === "skip" ? "skipped" : "saved"];
