// What the server says to an act of this page: mostly the next pair, sometimes that it came too late.
import { hear, home, page, words } from "./page.js";
import { ask, reserve } from "./asking.js";
import { tell } from "./notices.js";
import { keep, readAnswer, settle } from "./pair.js";
import { countPace } from "./pace.js";
import { outbox } from "./sending.js";

hear("answer", ({ entry, answer, isOwn }) => {
  if (isOwn) takeAnswer(entry, answer);
});

function takeAnswer(entry, answer) {
  const pair = readAnswer(answer);
  if (answer.status === 403 && answer.isPlain) return page.phase === "waiting" ? location.reload() : undefined;
  if (!pair) return tell(words.refused);
  const isToldElsewhere = answer.status === 422 && entry.act !== "skip"; // as a refused vote
  const isInSight = pair.standing === "current" && page.phase !== "open";
  if (pair.notice && !isToldElsewhere && !isInSight) tell(pair.notice);
  countPace(pair);
  place(pair);
}

// Where the pair goes: in sight where nothing is, ready behind what is, or over a pair that went to someone else.
function place(pair) {
  const before = page.due?.slot ?? page.section.dataset.slot;
  if (pair.standing === "none") {
    if (page.phase === "waiting" && !outbox.count()) ask(`${home}claims/`);
  } else if (page.phase === "waiting" || (page.phase === "flash" && !page.due)) {
    if (!outbox.count()) settle(pair);
  } else if (pair.standing === "next") keep(pair);
  else if (pair.slot === before) setTimeout(reserve, 0);
  else if (!outbox.count()) settle(pair);
}
