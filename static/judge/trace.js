// How a judgment came about: what was in sight for how long, what was scrolled, pasted and used, and by which hand.
import { find, findAll, hear, main, now, page } from "./page.js";

export const TICK_MS = 250;
const narrow = matchMedia("(max-width: 56.25rem)");

export const input = { at: now(), method: "mouse", withShift: false };
export const clock = { activeMs: 0 };
export let trace = {};

hear("shown", () => {
  clock.activeMs = 0;
  trace = { visible_left_ms: 0, visible_right_ms: 0, scrolled_left: false, scrolled_right: false, paste_count: 0, paste_chars: 0, used_diff: false, used_sync: false };
});

// Called every TICK_MS while she is at it, and once more when she has decided.
export function look() {
  const edge = find(".verdict")?.getBoundingClientRect().top ?? innerHeight;
  for (const side of ["left", "right"]) {
    const own = find(`.completion[data-side=${side}]`);
    const card = ("diff" in main.dataset && find(".compared:not([data-none])")) || own;
    if (!card || "veiled" in main.dataset) continue;
    const box = card.getBoundingClientRect();
    const text = find(".text", card) ?? card;
    if (box.bottom > 0 && box.top < edge) trace[`visible_${side}_ms`] += TICK_MS;
    if (box.bottom <= edge + 8 && text.scrollTop + text.clientHeight >= text.scrollHeight - 8) trace[`scrolled_${side}`] = true;
  }
  const isBelow = (find("#completion-right")?.getBoundingClientRect().top ?? Infinity) < innerHeight / 2;
  for (const link of findAll("[data-jump]")) (link.dataset.jump === "right") === isBelow ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
}

export function describeTrace() {
  const layout = main.dataset.layout === "stacked" || narrow.matches ? "stacked" : "side";
  return { ...trace, input_method: input.method, viewport: `${innerWidth}x${innerHeight}`, render: main.dataset.shows, layout, ui_version: main.dataset.ui };
}

export function noteInput(event, method) {
  Object.assign(input, { at: now(), method, withShift: event.shiftKey });
  trace.first_input_ms ??= Math.round(now() - page.shownAt);
}

document.addEventListener("paste", (event) => {
  trace.paste_count += 1;
  trace.paste_chars += event.clipboardData?.getData("text").length ?? 0;
});
document.addEventListener("pointerdown", (event) => noteInput(event, event.pointerType === "touch" ? "touch" : "mouse"));
for (const name of ["pointermove", "wheel", "scroll"]) document.addEventListener(name, () => (input.at = now()), { capture: true, passive: true });
