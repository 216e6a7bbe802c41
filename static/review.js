// Keys of the review page. Every key presses a visible button; typing in the note keeps its keys.
const CALM_MS = 250; // a key pressed this soon after another comparison came was meant for the last one

const now = () => performance.now();
let shownAt = now();
let isSaving = false;

const isTyping = (target) => target.matches("textarea, select, input:not([type=checkbox])");
const isOwnKey = (target, key) => (key === "space" || key === "enter") && target.matches("a, button, summary, input");
const isVisible = (element) => element.getClientRects().length > 0;

// What is wider than its text scrolls, and no key would move it.
function reachWide() {
  for (const wide of document.querySelectorAll(".prose :is(.formula, table, pre)")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
}
reachWide();

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target.id === "why") return event.target.blur();
  if (isTyping(event.target)) return;
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  if (isOwnKey(event.target, key)) return;
  const sheet = document.querySelector("[popover]:popover-open");
  const controls = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].filter(isVisible);
  const control = sheet ? controls.find((found) => found.getAttribute("popovertarget") === sheet.id) : controls[0];
  if (!control) return;
  event.preventDefault();
  if (control.id === "why") return control.focus();
  if (control.matches("[data-decision] button") && (isSaving || now() - shownAt < CALM_MS)) return;
  control.click();
});

document.addEventListener("click", (event) => {
  const article = event.target.closest("[data-unbox]")?.closest("article");
  if (!article) return;
  for (const text of article.querySelectorAll("[data-boxed]")) text.removeAttribute("data-boxed");
  event.target.closest("[data-unbox]").hidden = true;
});

const isDeciding = (event) => event.detail.elt?.matches?.("[data-decision]");

document.addEventListener("htmx:beforeRequest", (event) => {
  if (isDeciding(event)) isSaving = true;
});
document.addEventListener("htmx:afterRequest", () => {
  isSaving = false;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id !== "dispute") return;
  shownAt = now();
  reachWide();
  const dispute = document.getElementById("dispute");
  window.scrollTo({ top: 0 });
  dispute.focus({ preventScroll: true });
  document.querySelector("[data-live]").textContent = dispute.dataset.announcement;
});
