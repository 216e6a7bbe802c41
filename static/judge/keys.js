// Keys. Every key presses a visible button; typing keeps its keys.
import { find, findAll, isVisible, now, page } from "./page.js";
import { hold } from "./deciding.js";
import { noteInput } from "./trace.js";

const CALM_MS = 250; // a key pressed this soon after a new pair was meant for the old one
const isTyping = (target) => target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
const isOwnKey = (target, key) => (key === "space" || key === "enter") && target.matches("a, button, summary, input[type=checkbox]");

function findControl(key) {
  const sheet = find("[popover]:popover-open");
  const menu = find("details[data-menu][open]");
  const controls = findAll(`[data-key="${CSS.escape(key)}"]:not([data-jump][aria-current])`).filter(isVisible);
  if (sheet) return controls.find((control) => control.getAttribute("popovertarget") === sheet.id);
  if (menu) return controls.find((control) => menu.contains(control));
  return controls[0];
}

function readKey(event) {
  const shifted = `shift+${event.code.at(-1)}`;
  if (event.shiftKey && event.code.startsWith("Digit") && find(`[data-key="${shifted}"]`)) return shifted;
  return event.key === " " ? "space" : event.key.toLowerCase();
}

function leave() {
  const form = find(".vote[data-held]");
  const menus = findAll("details[data-menu][open]");
  for (const menu of menus) menu.open = false;
  if (isTyping(document.activeElement) || menus.length) page.section.focus({ preventScroll: true });
  else if (form?.dataset.act === "vote") hold(form, "");
}

document.addEventListener("keydown", (event) => {
  noteInput(event, "key");
  if (event.repeat || event.isComposing || event.altKey) return;
  if (event.key === "Escape") return find("[popover]:popover-open") ? undefined : leave();
  const isSend = event.key === "Enter" && (event.ctrlKey || event.metaKey) && isTyping(event.target);
  if (!isSend && (event.ctrlKey || event.metaKey || isTyping(event.target))) return;
  const key = readKey(event);
  if (!isSend && isOwnKey(event.target, key)) return;
  const control = isSend ? find("[data-save]:not([hidden])") : findControl(key);
  if (!control) return;
  event.preventDefault();
  const acts = control.matches("[data-act=vote] button, [data-act=revise] button, [data-act=skip] button");
  if (acts && (page.phase !== "open" || now() - page.shownAt < CALM_MS)) return;
  control.click();
  if (control.matches("summary")) find("textarea, button", control.parentElement)?.focus();
});
