// How the page comes by pairs: it asks for one, has the next one ready, and looks again when there is none.
import { find, hear, home, page, words } from "./page.js";
import { post } from "./server.js";
import { tell } from "./notices.js";
import { keep, readAnswer, show } from "./pair.js";
import { outbox } from "./sending.js";
import { diffField } from "./view.js";

const SETTLED_MS = 350; // a pair is in sight before the next one is fetched
const POLLS_MS = [20_000, 60_000, 120_000];
let polls = 0;

export async function ask(url, body = "") {
  if (outbox.count()) await outbox.flush();
  if (outbox.count()) return tell(words.kept);
  try {
    const answer = await post(url, body + diffField());
    if (answer.login) location.assign(answer.login);
    const pair = readAnswer(answer);
    if (!pair) return tell(words.refused);
    if (pair.slot !== page.section.dataset.slot && pair.slot === page.ready?.slot) keep(null);
    show(pair);
  } catch {
    tell(words.offline);
    if (find("[data-empty], [data-start]")) poll();
  }
}

// A vote on its way brings the next pair back with its answer.
export async function reserve() {
  const asked = page.section.dataset.slot;
  if (!asked || page.ready || page.phase !== "open" || outbox.count()) return;
  const pair = readAnswer(await post(`${home}claims/reserve/`, diffField()).catch(() => ({ html: "" })));
  if (pair?.standing === "next" && page.section.dataset.slot === asked && pair.slot !== asked && page.phase === "open") keep(pair);
}

function poll() {
  const least = Number(find("[data-empty]")?.dataset.poll ?? 0) * 1000;
  const wait = Math.max(least, POLLS_MS[Math.min(polls++, POLLS_MS.length - 1)]);
  const asked = page.section;
  setTimeout(function look() {
    if (page.section !== asked) return;
    if (document.visibilityState === "visible") ask(`${home}claims/`);
    else document.addEventListener("visibilitychange", look, { once: true });
  }, wait);
}

// A vote that was refused is in its form again: no pair is ready behind it.
hear("shown", (shown) => {
  if ("refused" in shown) return keep(null);
  if (find("[data-start]")) return ask(find("[data-start]").action);
  if (find("[data-empty]")) return poll();
  polls = 0;
  if (shown.slot && !page.ready) setTimeout(reserve, SETTLED_MS);
});
