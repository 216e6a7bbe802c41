// Votes the server refused, one of each pair, so that nothing she wrote is gone before she says so.
import { find, hear, main, page, words } from "./page.js";
import { tell } from "./notices.js";
import { readAnswer, show } from "./pair.js";
import { post } from "./server.js";
import { openShelf } from "./shelf.js";
import { outbox } from "./sending.js";
import { diffField } from "./view.js";

const prefix = `prefloop:refused:${main.dataset.owner}:`;
const shelf = openShelf(prefix);
const nameOf = (entry) => prefix + (entry.slot ?? entry.url);
const drop = (entry) => shelf.drop(nameOf(entry));

hear("refused", ({ entry, answer }) => {
  const said = answer.isPlain ? answer.html : (readAnswer(answer)?.notice ?? "");
  if (entry.act !== "skip") shelf.keep(nameOf(entry), { ...entry, words: said });
});
hear("answer", ({ entry, isRefused }) => {
  if (!isRefused) drop(entry);
  showRefused();
});
hear("shown", showRefused);

// The first one, unless it is in sight already.
function findRefused() {
  const inSight = "refused" in page.section.dataset && (page.section.dataset.slot ?? find(".vote").action);
  return shelf.names().map(shelf.take).find((entry) => entry?.url && (entry.slot ?? entry.url) !== inSight);
}

function showRefused() {
  const entry = findRefused();
  const box = find("[data-refusal]");
  box.hidden = !entry;
  find("span", box).textContent = entry?.words || words.refused;
}

async function reopen(entry) {
  if (outbox.count()) return tell(words.kept);
  const answer = await post(entry.url, entry.body + diffField()).catch(() => null);
  if (!answer) return tell(words.offline);
  if (answer.login) return location.assign(answer.login);
  const pair = readAnswer(answer);
  if (answer.status < 300 || answer.status === 409 || answer.status === 410) drop(entry);
  if (pair) show(pair);
  showRefused();
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-reopen], [data-discard]");
  const entry = control && findRefused();
  if (!entry) return;
  if ("reopen" in control.dataset) return reopen(entry);
  drop(entry);
  showRefused();
});
