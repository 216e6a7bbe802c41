// The better completion as it should be: its text comes into the field once she has said which one is better.
import { find, hear, page, words } from "./page.js";
import { tell } from "./notices.js";
import { read } from "./server.js";

const LEAST_PX = 160; // this much of what is rewritten stays in sight
let untouched = ""; // the text the fix began with

export const isTouched = (fix) => fix !== untouched;

export function chosenSide(form) {
  const step = Number(find("[name=preference]:checked", form)?.value ?? 0);
  const choice = form.dataset.held ?? find("[name=choice][aria-pressed=true]", form)?.value;
  return { left: "left", right: "right" }[choice] ?? (step < 0 ? "left" : step > 0 ? "right" : "");
}

export async function fillFix() {
  const panel = find("[data-fix]");
  if (!panel || panel.hidden) return;
  const field = find("textarea", panel);
  const side = chosenSide(find(".vote"));
  find("[data-unchosen]", panel).hidden = Boolean(side) || field.value !== "";
  if (!side || field.value !== untouched) return;
  const answer = await read(`${page.section.dataset.whole}${side}/`);
  if (!panel.isConnected) return; // another pair is in sight by now
  if (!answer?.ok) return tell(words.offline);
  field.value = await answer.text();
  untouched = field.value; // as the field has it: line ends are the browser's
  field.setSelectionRange(0, 0);
  showBoth(panel, side);
}

// The field comes into sight in the bar, and what she rewrites above it.
function showBoth(panel, side) {
  if (side) find("textarea", panel).focus({ preventScroll: true });
  panel.scrollIntoView({ block: "nearest" });
  const bar = find(".verdict");
  if (!side || getComputedStyle(bar).position !== "sticky") return;
  const original = find(`.completion[data-side=${side}]`);
  const { top, bottom } = original.getBoundingClientRect();
  const seen = Math.min(bottom, bar.getBoundingClientRect().top) - Math.max(top, 0);
  if (seen < Math.min(LEAST_PX, bottom - top)) original.scrollIntoView({ block: "start" });
}

hear("shown", (shown) => {
  untouched = "refused" in shown ? "" : (find("#fix")?.value ?? "");
});
document.addEventListener("change", (event) => {
  if (event.target.name === "preference") fillFix();
});
document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-fixes]");
  if (!control) return;
  const panel = find("[data-fix]");
  panel.hidden = !panel.hidden;
  control.setAttribute("aria-expanded", !panel.hidden);
  fillFix();
  if (!panel.hidden) showBoth(panel, chosenSide(find(".vote")));
});
