// The page's outbox: what goes with a vote on its way, and when the page wakes to send again.
import { find, home, main, page, tellAll } from "./page.js";
import { openOutbox } from "./outbox.js";
import { read } from "./server.js";
import { diffField } from "./view.js";

export const outbox = openOutbox({
  owner: main.dataset.owner,
  addLast,
  onState: (state, count) => tellAll("sync", { state, count }),
  onRefused: (entry, answer) => tellAll("refused", { entry, answer }),
  onAnswer: (entry, answer, isRefused, isOwn) => tellAll("answer", { entry, answer, isRefused, isOwn }),
});

// The pair she looks at while the vote travels is the one the server shows her now: its lease starts.
function addLast(entry, more) {
  const next = page.due ?? (page.phase === "open" ? page.section.dataset : {});
  const shown = next.slot && next.slot !== entry.slot ? `&show_slot=${next.slot}&show_token=${next.token}` : "";
  const stamp = shown && next === page.section.dataset ? find("[name=shown_at]", page.section)?.value : "";
  return (more ? "&more=true" : shown + (stamp ? `&show_at=${encodeURIComponent(stamp)}` : "")) + diffField();
}

// Back from another tab, where she may have logged in: a fresh page has the token that this login needs.
async function wake() {
  if (document.visibilityState !== "visible") return;
  if (!outbox.isLoggedOut()) return outbox.flush();
  const answer = await read(home);
  if (answer?.ok) location.reload();
}
document.addEventListener("visibilitychange", wake);
for (const name of ["focus", "pageshow"]) addEventListener(name, wake);
