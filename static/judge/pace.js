// How far she is today, how long she has been at it, and that the server hears from her while she reads.
import { find, hear, main, now, page } from "./page.js";
import { post } from "./server.js";
import { outbox } from "./sending.js";
import { TICK_MS, clock, input, look } from "./trace.js";

const IDLE_MS = 60_000; // without input for this long, time does not count as use
const HEARTBEAT_MS = 60_000;
const REST_MS = 600_000; // so long without work is a break
const WORK = "prefloop:work";
let pace = { today: 0, left: 0, isMore: false };
let beatMs = 0;

export function countPace(pair) {
  pace = { today: Number(pair.today), left: Number(pair.left), isMore: "more" in pair };
  showPace();
}

function showPace() {
  const pending = outbox.count();
  const [today, left] = [pace.today + pending, Math.max(0, pace.left - pending)];
  find("[data-today]").textContent = today;
  find("[data-left]").textContent = pace.isMore ? `${pace.left}+` : left;
  Object.assign(find(".pace progress"), { max: Math.max(1, today + left), value: today });
}

function countWork() {
  const limit = Number(main.dataset.break) * 60_000;
  if (!limit) return;
  const [worked = 0, at = Date.now()] = (sessionStorage.getItem(WORK) ?? "").split(":").filter(Boolean).map(Number);
  const total = Date.now() - at > REST_MS ? TICK_MS : worked + TICK_MS;
  sessionStorage.setItem(WORK, `${total}:${Date.now()}`);
  if (total >= limit) find("[data-rest]").hidden = false;
}

function showTimer() {
  const timer = find("[data-timer]");
  const seconds = Math.floor((now() - page.shownAt) / 1000);
  if (timer) timer.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function beat() {
  beatMs += TICK_MS;
  if (beatMs < HEARTBEAT_MS) return;
  beatMs = 0;
  if (page.section.dataset.renew) post(page.section.dataset.renew).catch(() => {});
}

setInterval(() => {
  showTimer();
  if (document.visibilityState !== "visible" || now() - input.at > IDLE_MS || !page.section.dataset.whole) return;
  clock.activeMs += TICK_MS;
  look();
  countWork();
  beat();
}, TICK_MS);

hear("shown", (shown) => {
  if (shown.standing === "current") countPace(shown);
});
hear("sync", showPace);
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-rested]")) return;
  sessionStorage.removeItem(WORK);
  find("[data-rest]").hidden = true;
});
