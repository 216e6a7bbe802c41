// What a step means, in full: a finger never sees a title. It is said of the step she is on, or else of the one she chose.
import { find, hear } from "./page.js";

const CHOSEN = ".vote [name=preference]:checked, .vote[data-held] [name=choice][aria-pressed=true]";

export function sayWording() {
  const line = find("[data-wording]");
  if (!line) return;
  const focused = document.activeElement;
  const step = focused.matches(".vote [type=radio]") ? focused : find(CHOSEN);
  line.replaceChildren(...(step ? describeStep(step) : []));
}

function describeStep(step) {
  const holder = step.closest("label") ?? step;
  const name = find(".long", holder) ?? step.closest(".axis")?.querySelector("legend");
  if (!name) return [holder.title];
  return [Object.assign(document.createElement("b"), { textContent: `${name.textContent}:` }), ` ${holder.title}`];
}

hear("shown", sayWording);
for (const name of ["focusin", "focusout", "change"]) document.addEventListener(name, sayWording);
