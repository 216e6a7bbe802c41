// What she decides: a vote at one key, or one that waits for its flags and reasons; a skip; and the flash of each.
import { find, findAll, hear, main, page } from "./page.js";
import { ask } from "./asking.js";
import { fillFix, isTouched } from "./fix.js";
import { showWaiting, tell } from "./notices.js";
import { keep, sayPassed, show } from "./pair.js";
import { post } from "./server.js";
import { outbox } from "./sending.js";
import { clock, describeTrace, input, look } from "./trace.js";
import { applyView } from "./view.js";
import { sayWording } from "./wording.js";

const FLASH_MS = 350; // a choice stays in sight this long

function decide(form, button, changes = {}) {
  if (page.phase !== "open") return;
  const act = form.dataset.act;
  const body = writeBody(form, button, changes);
  for (const other of findAll("button[aria-pressed][name]", form)) other.setAttribute("aria-pressed", other === button || other.value === changes.choice);
  page.section.dataset.chosen = "";
  page.phase = "flash";
  tell("");
  if (act !== "revise") {
    page.due = page.ready;
    keep(null);
  }
  outbox.add({ act, url: form.action, slot: page.section.dataset.slot, body });
  setTimeout(() => {
    if (page.due) return show(page.due, page.due.standing === "next" ? sayPassed(act) : "");
    page.phase = "waiting";
    showWaiting();
  }, FLASH_MS);
}

function writeBody(form, button, changes) {
  const data = new FormData(form, button);
  for (const [name, value] of Object.entries(changes)) data.set(name, value);
  data.delete("csrfmiddlewaretoken");
  look();
  if (form.dataset.act === "vote" && !isTouched(data.get("fix"))) data.delete("fix");
  if (form.dataset.act !== "skip") {
    data.set("guideline", find("#guideline").dataset.read); // what is in her drawer, which may be older than the pair
    data.set("active_ms", Math.round(clock.activeMs));
    data.set("trace", JSON.stringify(describeTrace()));
  }
  return new URLSearchParams(data).toString();
}

function vote(form, button) {
  if (form.dataset.scale !== "quick") return decide(form, button);
  if (button?.name !== "choice") return form.dataset.held && decide(form, null, { choice: form.dataset.held });
  const mustWait = input.withShift || "asks" in main.dataset || form.dataset.held || find(".choices ~ .extras .axes", form) || find("[data-fix]:not([hidden])", form);
  if (mustWait) hold(form, button.value);
  else decide(form, button);
}

// A choice waits for Save; "" takes it back.
export function hold(form, choice) {
  form.toggleAttribute("data-held", Boolean(choice));
  form.dataset.held = choice;
  if (!choice) delete form.dataset.held;
  for (const button of findAll("[name=choice]", form)) button.setAttribute("aria-pressed", button.value === choice);
  find("[data-save]", form).hidden = !choice;
  sayWording();
  fillFix();
}

function unveil(form) {
  form.hidden = true;
  delete main.dataset.veiled;
  applyView();
  post(form.action).catch(() => {});
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const act = form.dataset.act;
  if (!act) return;
  event.preventDefault();
  if (act === "vote" || act === "revise") return vote(form, event.submitter);
  if (act === "skip") return decide(form, event.submitter);
  if (act === "unveil") return unveil(form);
  if (act === "decline") keep(null);
  ask(form.action, new URLSearchParams(new FormData(form)).toString());
});

// A vote that was refused is in its form again, and waits for Save. Undo goes back from the vote in sight.
hear("shown", (shown) => {
  find("[name=before]").value = shown.judgment ?? "";
  const choice = "refused" in shown && find(".vote [name=choice][aria-pressed=true]")?.value;
  if (choice) hold(find(".vote"), choice);
});
