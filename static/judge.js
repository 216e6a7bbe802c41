// Keys, the visible flash of a choice, the time in use, and the lease's heartbeat. Every key presses a visible button.
const FLASH_MS = 350; // a choice stays in sight this long, network included
const CALM_MS = 250; // a key pressed this soon after a new pair was meant for the old one
const IDLE_MS = 60_000; // without input for this long, time does not count as use
const HEARTBEAT_S = 60;

const now = () => performance.now();
let shownAt = now();
let pressedAt = 0;
let lastInputAt = now();
let activeMs = 0;
let seconds = 0;
let isSaving = false;

const isTyping = (target) => target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
const isOwnKey = (target, key) => (key === "space" || key === "enter") && target.matches("a, button, summary, input");
const isVisible = (element) => element.getClientRects().length > 0;

function findControl(key) {
  const sheet = document.querySelector("[popover]:popover-open");
  const menu = document.querySelector("details[data-menu][open]");
  const controls = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].filter(isVisible);
  if (sheet) return controls.find((control) => control.getAttribute("popovertarget") === sheet.id);
  if (menu) return controls.find((control) => menu.contains(control));
  return controls[0];
}

document.addEventListener("keydown", (event) => {
  lastInputAt = now();
  if (event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return closeMenus();
  if (isTyping(event.target)) return;
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  if (isOwnKey(event.target, key)) return;
  const control = findControl(key);
  if (!control) return;
  event.preventDefault();
  const isVote = control.matches("[data-vote] button");
  if (isVote && (isSaving || now() - shownAt < CALM_MS)) return;
  control.click();
  if (control.matches("summary")) control.parentElement.querySelector("textarea, button")?.focus();
});

function closeMenus() {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) menu.open = false;
}

function showTrouble(cause) {
  isSaving = false;
  const trouble = document.querySelector("[data-trouble]");
  trouble.hidden = false;
  for (const text of trouble.children) text.hidden = text.dataset.cause !== cause;
  trouble.scrollIntoView({ block: "nearest" });
}

const isVoting = (event) => event.detail.elt?.matches?.("[data-vote]");

document.addEventListener("htmx:configRequest", (event) => {
  if (isVoting(event)) event.detail.parameters.set("active_ms", String(Math.round(activeMs)));
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isVoting(event)) return;
  isSaving = true;
  pressedAt = now();
  document.querySelector("[data-trouble]").hidden = true;
  const submitter = event.detail.requestConfig.triggeringEvent?.submitter;
  for (const button of event.detail.elt.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === submitter));
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!isVoting({ detail: { elt: event.detail.requestConfig.elt } })) return;
  event.detail.swapOverride = `outerHTML swap:${Math.max(0, Math.round(FLASH_MS - (now() - pressedAt)))}ms`;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id !== "comparison") return;
  const comparison = document.getElementById("comparison");
  isSaving = false;
  if (!comparison.querySelector("[data-vote]")) return;
  shownAt = now();
  activeMs = 0;
  window.scrollTo({ top: 0 });
  comparison.focus({ preventScroll: true });
  document.querySelector("[data-live]").textContent = comparison.dataset.announcement;
});
document.addEventListener("htmx:sendError", () => showTrouble("network"));
document.addEventListener("htmx:responseError", () => showTrouble("refused"));
for (const name of ["pointermove", "pointerdown", "wheel", "scroll"]) {
  document.addEventListener(name, () => (lastInputAt = now()), { passive: true });
}

setInterval(() => {
  if (document.visibilityState !== "visible" || now() - lastInputAt > IDLE_MS) return;
  activeMs += 1000;
  seconds += 1;
  if (seconds % HEARTBEAT_S === 0) document.querySelector("[data-heartbeat]")?.dispatchEvent(new Event("heartbeat"));
}, 1000);
