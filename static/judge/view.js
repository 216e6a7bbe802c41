// How the texts are shown: raw or rendered, their words compared, side by side or one below the other, scrolled together.
import { find, findAll, hear, main, page } from "./page.js";
import { read } from "./server.js";
import { trace } from "./trace.js";

const VIEW = `prefloop:view:${main.dataset.owner}`;
const base = { raw: main.dataset.shows === "raw", diff: false, sync: "sync" in main.dataset, stacked: main.dataset.layout === "stacked", asks: "asks" in main.dataset };
const BESIDE = base.stacked || main.dataset.layout === "auto" ? "side" : main.dataset.layout;
const settings = JSON.stringify(base); // what she changes in her settings goes before what she toggled earlier
const view = { ...base, ...readKept() };

function readKept() {
  try {
    const kept = JSON.parse(localStorage.getItem(VIEW));
    return kept?.desk === settings ? kept.view : {};
  } catch {
    return {};
  }
}

export const diffField = () => (view.diff ? "&diff=true" : "");

export function applyView() {
  main.dataset.shows = view.raw ? "raw" : "rendered";
  main.dataset.layout = view.stacked ? "stacked" : BESIDE;
  for (const name of ["diff", "sync", "asks"]) main.toggleAttribute(`data-${name}`, view[name]);
  for (const button of findAll("[data-toggle]")) button.setAttribute("aria-pressed", view[button.dataset.toggle]);
  for (const raw of findAll("[data-render=raw]")) {
    raw.hidden = !view.raw;
    raw.previousElementSibling.hidden = view.raw;
  }
  for (const text of findAll(".conversation, .completion .text:not([data-boxed])")) view.sync || main.dataset.layout === "boxes" ? (text.tabIndex = 0) : text.removeAttribute("tabindex");
  for (const wide of findAll(".prose :is(.formula, table, pre)")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0; // or no key moves it
  for (const part of findAll(".conversation, .completions")) part.inert = "veiled" in main.dataset;
  if (view.diff && page.section.dataset.whole && !find("[data-diff].compared")) loadDiff(page.section);
  if (view.diff) trace.used_diff = true;
}

async function loadDiff(asked) {
  const answer = await read(`${asked.dataset.whole}diff/`);
  if (asked !== page.section || !answer?.ok || find(".compared")) return;
  find(".completions").insertAdjacentHTML("afterend", await answer.text());
}

function toggle(name) {
  view[name] = !view[name];
  try {
    localStorage.setItem(VIEW, JSON.stringify({ desk: settings, view }));
  } catch {
    // It holds until the page is left.
  }
  applyView();
}

hear("shown", applyView);
document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-toggle], [data-unbox]");
  if (control?.dataset.toggle) return toggle(control.dataset.toggle);
  if (!control) return;
  findAll(".text[data-boxed]", control.closest("article")).forEach((text) => text.removeAttribute("data-boxed"));
  control.parentElement.hidden = true;
});

let leader = null; // the text she scrolls; the other follows it, and leads nothing meanwhile
let leading = 0;
document.addEventListener("scroll", (event) => {
  const text = event.target;
  if (!view.sync || !text.matches?.(".completion .text") || (leader && leader !== text)) return;
  leader = text;
  clearTimeout(leading);
  leading = setTimeout(() => (leader = null), 120);
  trace.used_sync = true;
  const other = findAll(".completion .text").find((element) => element !== text);
  other.scrollTop = (text.scrollTop / Math.max(1, text.scrollHeight - text.clientHeight)) * (other.scrollHeight - other.clientHeight);
}, { capture: true, passive: true });
