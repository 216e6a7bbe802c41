// Keys, the visible flash of a choice, the pair that is ready, how texts are shown, and the trace of it all.
// Every key presses a visible button. What is decided goes through the outbox; what is ready is shown without waiting.
const FLASH_MS = 350; // a choice stays in sight this long
const CALM_MS = 250; // a key pressed this soon after a new pair was meant for the old one
const IDLE_MS = 60_000; // without input for this long, time does not count as use
const TICK_MS = 250;
const HEARTBEAT_MS = 60_000;
const REST_MS = 600_000; // so long without work is a break
const FETCH_MS = 20_000;
const POLLS_MS = [20_000, 60_000, 120_000];

const main = document.getElementById("main");
const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
const { openOutbox, post } = await import(main.dataset.outbox);
const now = () => performance.now();
const home = main.dataset.home;
const narrow = matchMedia("(max-width: 56.25rem)");

let section = find("#comparison");
let ready = null; // the next pair: {html, slot, token, at}; a string, for ids are unique in a document
let due = null; // what comes when the flash is over
let phase = "open"; // open, flash, or waiting for an answer
let shownAt = now();
let lastInputAt = now();
let lastInput = "mouse";
let withShift = false;
let activeMs = 0;
let beatMs = 0;
let polls = 0;
let trace = {};
let pace = { today: 0, left: 0, isMore: false };
let fixed = ""; // the text the fix began with

// --- the pair in front of her ------------------------------------------------------------------------------------------
function readAnswer(answer) {
  const fresh = find("#comparison", Object.assign(document.createElement("template"), { innerHTML: answer.html }).content);
  return fresh && { ...fresh.dataset, html: answer.html, at: now(), address: answer.address };
}

function show(pair, said) {
  const fresh = find("#comparison", Object.assign(document.createElement("template"), { innerHTML: pair.html }).content);
  section.replaceWith(fresh);
  section = fresh;
  phase = "open";
  due = null;
  const stamp = find("[name=shown_at]", section);
  if (stamp && pair.standing === "next") stamp.value = new Date(Date.parse(stamp.value) + now() - pair.at).toISOString();
  if (pair.standing === "current") countPace(pair);
  if (pair.address) history.replaceState(null, "", pair.address);
  begin();
  scrollTo({ top: 0 });
  section.focus({ preventScroll: true });
  find("[data-live]").textContent = said || section.dataset.announcement;
}

function begin() {
  shownAt = now();
  activeMs = 0;
  fixed = find("#fix")?.value ?? "";
  trace = { visible_left_ms: 0, visible_right_ms: 0, scrolled_left: false, scrolled_right: false, paste_count: 0, paste_chars: 0, used_diff: false, used_sync: false };
  showWaiting();
  showRefused();
  applyView();
  if ("refused" in section.dataset) return takeBack();
  if (find("[data-start]")) return ask(find("[data-start]").action);
  if (find("[data-empty]")) return poll();
  polls = 0;
  if (section.dataset.slot && !ready) setTimeout(reserve, FLASH_MS);
}

// A vote that was refused is in its form again: it waits for Save, and no pair is ready behind it.
function takeBack() {
  keep(null);
  fixed = "";
  const form = find(".vote");
  const choice = find("[name=choice][aria-pressed=true]", form)?.value;
  if (choice) hold(form, choice);
}

async function reserve() {
  if (!section.dataset.slot || phase !== "open") return;
  const asked = section.dataset.slot;
  const pair = readAnswer(await post(`${home}claims/reserve/`, diffField()).catch(() => ({ html: "" })));
  if (pair?.standing === "next" && section.dataset.slot === asked && pair.slot !== asked && phase === "open") keep(pair);
}

async function ask(url, body = "") {
  if (outbox.count()) await outbox.flush();
  if (outbox.count()) return tell(find("[data-live]").dataset.kept);
  try {
    const answer = await post(url, body + diffField());
    if (answer.login) location.assign(answer.login);
    const pair = readAnswer(answer);
    if (!pair) return tell(find("[data-live]").dataset.refused);
    if (pair.slot !== section.dataset.slot && pair.slot === ready?.slot) keep(null);
    show(pair);
  } catch {
    tell(find("[data-live]").dataset.offline);
    if (find("[data-empty], [data-start]")) poll();
  }
}

function poll() {
  const least = Number(find("[data-empty]")?.dataset.poll ?? 0) * 1000;
  const wait = Math.max(least, POLLS_MS[Math.min(polls++, POLLS_MS.length - 1)]);
  const asked = section;
  setTimeout(function look() {
    if (section !== asked) return;
    if (document.visibilityState === "visible") ask(`${home}claims/`);
    else document.addEventListener("visibilitychange", look, { once: true });
  }, wait);
}

// --- what she decides ---------------------------------------------------------------------------------------------------
const outbox = openOutbox({ owner: main.dataset.owner, addLast, onState, onAnswer, onRefused: showRefused });

function addLast(entry, more) {
  const next = due ?? (phase === "open" ? section.dataset : {});
  const shown = next.slot && next.slot !== entry.slot ? `&show_slot=${next.slot}&show_token=${next.token}` : "";
  const stamp = shown && next === section.dataset ? find("[name=shown_at]", section)?.value : "";
  return (more ? "&more=true" : shown + (stamp ? `&show_at=${encodeURIComponent(stamp)}` : "")) + diffField();
}

function onState(state, count) {
  find(".sync").dataset.state = state;
  for (const number of findAll("[data-count]")) number.textContent = count;
  for (const link of findAll(".sync a, [data-locked] a")) link.href = `${main.dataset.login}?next=${encodeURIComponent(home)}`;
  showPace();
  showWaiting();
}

function onAnswer(entry, answer) {
  const pair = readAnswer(answer);
  if (answer.status === 403 && answer.isPlain) return phase === "waiting" ? location.reload() : undefined;
  if (!pair) return tell(find("[data-live]").dataset.refused);
  if (pair.notice && (entry.act === "skip" || answer.status !== 422) && (pair.standing !== "current" || phase === "open")) tell(pair.notice);
  countPace(pair);
  const before = due?.slot ?? section.dataset.slot;
  if (pair.standing === "none") {
    if (phase === "waiting" && !outbox.count()) ask(`${home}claims/`);
  } else if (phase === "waiting" || (phase === "flash" && !due)) {
    if (!outbox.count()) settle(pair);
  } else if (pair.standing === "next") keep(pair);
  else if (pair.slot === before) setTimeout(reserve, 0);
  else if (!outbox.count()) settle(pair);
}

function keep(pair) {
  ready = pair;
  main.dataset.reserve = pair ? "ready" : "";
}

function settle(pair) {
  if (phase === "flash") due = pair;
  else show(pair);
}

function decide(form, button, changes = {}) {
  if (phase !== "open") return;
  const act = form.dataset.act;
  const data = new FormData(form, button);
  for (const [name, value] of Object.entries(changes)) data.set(name, value);
  data.delete("csrfmiddlewaretoken");
  look();
  if (data.get("fix") === fixed && act === "vote") data.delete("fix");
  if (act !== "skip") {
    data.set("active_ms", Math.round(activeMs));
    data.set("trace", JSON.stringify(describeTrace()));
  }
  for (const other of findAll("button[aria-pressed][name]", form)) other.setAttribute("aria-pressed", other === button || other.value === changes.choice);
  section.dataset.chosen = "";
  phase = "flash";
  find("[data-told]").hidden = true;
  if (act !== "revise") {
    due = ready;
    keep(null);
  }
  outbox.add({ act, url: form.action, slot: section.dataset.slot, body: new URLSearchParams(data).toString() });
  setTimeout(() => {
    const said = find("[data-live]").dataset[act === "skip" ? "skipped" : "saved"];
    if (due) return show(due, due.standing === "next" ? said : "");
    phase = "waiting";
    showWaiting();
  }, FLASH_MS);
}

function vote(form, button) {
  if (form.dataset.scale !== "quick") return decide(form, button);
  if (button?.name !== "choice") return form.dataset.held && decide(form, null, { choice: form.dataset.held });
  const mustWait = withShift || "asks" in main.dataset || form.dataset.held || find(".choices ~ .axes", form) || find("[data-fix]:not([hidden])", form);
  if (mustWait) hold(form, button.value);
  else decide(form, button);
}

function hold(form, choice) {
  form.toggleAttribute("data-held", Boolean(choice));
  form.dataset.held = choice;
  if (!choice) delete form.dataset.held;
  for (const button of findAll("[name=choice]", form)) button.setAttribute("aria-pressed", button.value === choice);
  find("[data-save]", form).hidden = !choice;
  fillFix();
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.act) return;
  event.preventDefault();
  const act = form.dataset.act;
  if (act === "vote" || act === "revise") return vote(form, event.submitter);
  if (act === "skip") return decide(form, event.submitter);
  if (act === "unveil") return unveil(form);
  if (act === "decline") keep(null);
  ask(form.action, new URLSearchParams(new FormData(form)).toString());
});

function unveil(form) {
  form.hidden = true;
  delete main.dataset.veiled;
  applyView();
  post(form.action).catch(() => {});
}

// --- the rewritten completion ---------------------------------------------------------------------------------------------
function chosenSide(form) {
  const step = Number(find("[name=preference]:checked", form)?.value ?? 0);
  const choice = form.dataset.held ?? find("[name=choice][aria-pressed=true]", form)?.value;
  return { left: "left", right: "right" }[choice] ?? (step < 0 ? "left" : step > 0 ? "right" : "");
}

async function fillFix() {
  const panel = find("[data-fix]");
  if (!panel || panel.hidden) return;
  const field = find("textarea", panel);
  const side = chosenSide(find(".vote"));
  find("[data-unchosen]", panel).hidden = Boolean(side) || field.value !== "";
  if (!side || field.value !== fixed) return;
  const answer = await fetch(`${section.dataset.whole}${side}/`).catch(() => null);
  if (!answer?.ok) return tell(find("[data-live]").dataset.offline);
  field.value = await answer.text();
  fixed = field.value; // as the field has it: line ends are the browser's
  field.setSelectionRange(0, 0);
  field.focus();
}

// --- how texts are shown ----------------------------------------------------------------------------------------------------
const VIEW = `prefloop:view:${main.dataset.owner}`;
const base = { raw: main.dataset.shows === "raw", diff: false, sync: "sync" in main.dataset, stacked: main.dataset.layout === "stacked", asks: "asks" in main.dataset };
const desk = JSON.stringify(base); // what she changes in her settings goes before what she toggled earlier
let view = { ...base };
try {
  const kept = JSON.parse(localStorage.getItem(VIEW));
  if (kept?.desk === desk) view = { ...base, ...kept.view };
} catch {
  // Nothing kept.
}

const diffField = () => (view.diff ? "&diff=true" : "");

function applyView() {
  main.dataset.shows = view.raw ? "raw" : "rendered";
  main.dataset.layout = view.stacked ? "stacked" : "side";
  for (const name of ["diff", "sync", "asks"]) main.toggleAttribute(`data-${name}`, view[name]);
  for (const button of findAll("[data-toggle]")) button.setAttribute("aria-pressed", view[button.dataset.toggle]);
  for (const raw of findAll("[data-render=raw]")) {
    raw.hidden = !view.raw;
    raw.previousElementSibling.hidden = view.raw;
  }
  for (const text of findAll(".conversation, .completion .text:not([data-boxed])")) view.sync ? (text.tabIndex = 0) : text.removeAttribute("tabindex");
  for (const part of findAll(".conversation, .completions")) part.inert = "veiled" in main.dataset;
  if (view.diff && section.dataset.whole && !find("[data-diff].compared")) loadDiff(section);
  if (view.diff) trace.used_diff = true;
}

async function loadDiff(asked) {
  const answer = await fetch(`${section.dataset.whole}diff/`).catch(() => null);
  if (asked !== section || !answer?.ok || find(".compared")) return;
  find(".completions").insertAdjacentHTML("afterend", await answer.text());
}

function toggle(name) {
  view[name] = !view[name];
  try {
    localStorage.setItem(VIEW, JSON.stringify({ desk, view }));
  } catch {
    // It holds until the page is left.
  }
  applyView();
}

let leader = null;
let leading = 0;
document.addEventListener("scroll", (event) => {
  lastInputAt = now();
  const text = event.target;
  if (!view.sync || !text.matches?.(".completion .text") || (leader && leader !== text)) return;
  leader = text;
  clearTimeout(leading);
  leading = setTimeout(() => (leader = null), 120);
  trace.used_sync = true;
  const other = findAll(".completion .text").find((element) => element !== text);
  other.scrollTop = (text.scrollTop / Math.max(1, text.scrollHeight - text.clientHeight)) * (other.scrollHeight - other.clientHeight);
}, { capture: true, passive: true });

// --- what the page tells her --------------------------------------------------------------------------------------------------
function tell(words) {
  const notice = find("[data-told]");
  notice.textContent = words ?? "";
  notice.hidden = !words;
}

// The first vote that was refused behind her, unless it is the one in sight.
function showRefused() {
  const [entry] = outbox.refused.list().filter((one) => !("refused" in section.dataset && (section.dataset.slot ?? find(".vote").action) === (one.slot ?? one.url)));
  const box = find("[data-refusal]");
  box.hidden = !entry;
  find("span", box).textContent = entry?.words || find("[data-live]").dataset.refused;
  return entry;
}

async function reopen(entry) {
  if (outbox.count()) return tell(find("[data-live]").dataset.kept);
  const answer = await post(entry.url, entry.body + diffField()).catch(() => null);
  if (!answer) return tell(find("[data-live]").dataset.offline);
  if (answer.login) return location.assign(answer.login);
  const pair = readAnswer(answer);
  if (answer.status < 300 || answer.status === 409 || answer.status === 410) outbox.refused.drop(entry);
  if (pair) show(pair);
  showRefused();
}

function showWaiting() {
  const state = phase === "waiting" ? find(".sync").dataset.state : "";
  find("[data-waiting]").hidden = state !== "unsynced";
  find("[data-locked]").hidden = state !== "login";
  section.hidden = state === "unsynced" || state === "login";
}

function countPace(pair) {
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

// --- the trace ------------------------------------------------------------------------------------------------------------------
function look() {
  const edge = find(".verdict")?.getBoundingClientRect().top ?? innerHeight;
  for (const side of ["left", "right"]) {
    const card = find(view.diff ? ".compared" : `.completion[data-side=${side}]`) ?? find(`.completion[data-side=${side}]`);
    if (!card || "veiled" in main.dataset) continue;
    const box = card.getBoundingClientRect();
    const text = find(".text", card) ?? card;
    if (box.bottom > 0 && box.top < edge) trace[`visible_${side}_ms`] += TICK_MS;
    if (box.bottom <= edge + 8 && text.scrollTop + text.clientHeight >= text.scrollHeight - 8) trace[`scrolled_${side}`] = true;
  }
  const isBelow = (find("#completion-right")?.getBoundingClientRect().top ?? Infinity) < innerHeight / 2;
  for (const link of findAll("[data-jump]")) (link.dataset.jump === "right") === isBelow ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
}

function describeTrace() {
  const layout = view.stacked || narrow.matches ? "stacked" : "side";
  return { ...trace, input_method: lastInput, viewport: `${innerWidth}x${innerHeight}`, render: main.dataset.shows, layout, ui_version: main.dataset.ui };
}

function noteInput(event, method) {
  lastInputAt = now();
  lastInput = method;
  withShift = event.shiftKey;
  trace.first_input_ms ??= Math.round(now() - shownAt);
}

function countWork() {
  const limit = Number(main.dataset.break) * 60_000;
  if (!limit) return;
  const [worked = 0, at = Date.now()] = (sessionStorage.getItem("prefloop:work") ?? "").split(":").filter(Boolean).map(Number);
  const total = Date.now() - at > REST_MS ? TICK_MS : worked + TICK_MS;
  sessionStorage.setItem("prefloop:work", `${total}:${Date.now()}`);
  if (total >= limit) find("[data-rest]").hidden = false;
}

setInterval(() => {
  const timer = find("[data-timer]");
  const seconds = Math.floor((now() - shownAt) / 1000);
  if (timer) timer.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  if (document.visibilityState !== "visible" || now() - lastInputAt > IDLE_MS || !section.dataset.whole) return;
  activeMs += TICK_MS;
  beatMs += TICK_MS;
  look();
  countWork();
  if (beatMs < HEARTBEAT_MS) return;
  beatMs = 0;
  if (section.dataset.renew) post(section.dataset.renew).catch(() => {});
}, TICK_MS);

// --- keys and clicks ---------------------------------------------------------------------------------------------------------------
const isTyping = (target) => target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
const isOwnKey = (target, key) => (key === "space" || key === "enter") && target.matches("a, button, summary, input[type=checkbox]");
const isVisible = (element) => element.getClientRects().length > 0;

function findControl(key) {
  const sheet = find("[popover]:popover-open");
  const menu = find("details[data-menu][open]");
  const controls = findAll(`[data-key="${CSS.escape(key)}"]:not([data-jump][aria-current])`).filter(isVisible);
  if (sheet) return controls.find((control) => control.getAttribute("popovertarget") === sheet.id);
  if (menu) return controls.find((control) => menu.contains(control));
  return controls[0];
}

function leave() {
  const form = find(".vote[data-held]");
  const menus = findAll("details[data-menu][open]");
  for (const menu of menus) menu.open = false;
  if (isTyping(document.activeElement) || menus.length) section.focus({ preventScroll: true });
  else if (form?.dataset.act === "vote") hold(form, "");
}

document.addEventListener("keydown", (event) => {
  noteInput(event, "key");
  if (event.repeat || event.isComposing || event.altKey) return;
  if (event.key === "Escape") return find("[popover]:popover-open") ? undefined : leave();
  const isSend = event.key === "Enter" && (event.ctrlKey || event.metaKey) && isTyping(event.target);
  if (!isSend && (event.ctrlKey || event.metaKey || isTyping(event.target))) return;
  const plain = event.key === " " ? "space" : event.key.toLowerCase();
  const key = event.shiftKey && event.code.startsWith("Digit") && find(`[data-key="shift+${event.code.at(-1)}"]`) ? `shift+${event.code.at(-1)}` : plain;
  if (!isSend && isOwnKey(event.target, key)) return;
  const control = isSend ? find("[data-save]:not([hidden])") : findControl(key);
  if (!control) return;
  event.preventDefault();
  const acts = control.matches("[data-act=vote] button, [data-act=revise] button, [data-act=skip] button");
  if (acts && (phase !== "open" || now() - shownAt < CALM_MS)) return;
  control.click();
  if (control.matches("summary")) find("textarea, button", control.parentElement)?.focus();
});

document.addEventListener("click", (event) => {
  const control = event.target.closest("button, a");
  if (!control) return;
  if (control.dataset.toggle) toggle(control.dataset.toggle);
  if ("reopen" in control.dataset) reopen(showRefused());
  if ("discard" in control.dataset) {
    outbox.refused.drop(showRefused());
    showRefused();
  }
  if ("rested" in control.dataset) {
    sessionStorage.removeItem("prefloop:work");
    find("[data-rest]").hidden = true;
  }
  if ("unbox" in control.dataset) {
    findAll(".text[data-boxed]", control.closest("article")).forEach((text) => text.removeAttribute("data-boxed"));
    control.parentElement.hidden = true;
  }
  if ("fixes" in control.dataset) {
    const panel = find("[data-fix]");
    panel.hidden = !panel.hidden;
    control.setAttribute("aria-expanded", !panel.hidden);
    fillFix();
    if (!panel.hidden && chosenSide(find(".vote"))) find("textarea", panel).focus();
  }
});
document.addEventListener("change", (event) => {
  if (event.target.name === "preference") fillFix();
});
document.addEventListener("paste", (event) => {
  trace.paste_count += 1;
  trace.paste_chars += event.clipboardData?.getData("text").length ?? 0;
});
document.addEventListener("pointerdown", (event) => noteInput(event, event.pointerType === "touch" ? "touch" : "mouse"));
for (const name of ["pointermove", "wheel"]) document.addEventListener(name, () => (lastInputAt = now()), { passive: true });

// Back from another tab, where she may have logged in: a fresh page has the token that this login needs.
async function wake() {
  if (document.visibilityState !== "visible") return;
  if (!outbox.isLoggedOut()) return outbox.flush();
  const answer = await fetch(home, { redirect: "manual", signal: AbortSignal.timeout(FETCH_MS) }).catch(() => null);
  if (answer?.ok) location.reload();
}
document.addEventListener("visibilitychange", wake);
for (const name of ["focus", "pageshow"]) addEventListener(name, wake);

main.dataset.ready = "";
pace = { today: Number(section.dataset.today), left: Number(section.dataset.left), isMore: "more" in section.dataset };
begin();
outbox.flush();
