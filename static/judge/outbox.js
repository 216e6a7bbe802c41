// What a labeler decided is written down here before it is sent, and sent in order until the server has answered it.
// The same idempotency key goes with every try, so nothing is doubled; another tab, or the next visit, sends what is left.
import { openShelf } from "./shelf.js";
import { post } from "./server.js";

const WAITS_MS = [1000, 2000, 5000, 10_000, 30_000];
const FINAL = [400, 404, 413, 422]; // another try of the same would be refused the same
const LATER = [408, 429];

// owner: whose votes these are, for a computer has many users. addLast(entry, more): what goes with a body at the moment
// it is sent. onState(state, count): saved, sending, unsynced or login. onRefused(entry, answer): what the server will
// not have as it is. onAnswer(entry, answer, isRefused, isOwn): every last word; isOwn is an entry of this tab.
export function openOutbox({ owner, addLast, onState, onRefused, onAnswer }) {
  const prefix = `prefloop:outbox:${owner}:`;
  const shelf = openShelf(prefix);
  const count = () => shelf.names().length;
  let state = "saved";
  let failures = 0;
  let timer = 0;
  let draining = null;

  function report(next) {
    state = next;
    onState(state, count());
  }

  function add(entry) {
    shelf.keep(`${prefix}${String(Date.now()).padStart(15, "0")}:${Math.random().toString(36).slice(2)}`, entry);
    report(state === "saved" ? "sending" : state);
    flush();
  }

  function flush() {
    clearTimeout(timer);
    draining ??= withLock(drain).finally(() => {
      draining = null;
      if (state === "sending" && count()) flush(); // added after the last look, it was promised to this run
    });
    return draining;
  }

  // One tab sends at a time. Without locks (plain http) two may: the server knows the key and stores it once.
  const withLock = (act) => (navigator.locks ? navigator.locks.request(prefix, act) : act());

  async function drain() {
    for (let name = shelf.names()[0]; name; name = shelf.names()[0]) {
      const isOwn = shelf.isOwn(name);
      const entry = shelf.take(name);
      if (typeof entry?.url !== "string") {
        shelf.drop(name);
        continue;
      }
      if (state !== "unsynced") report("sending");
      let answer;
      try {
        const more = count() > 1;
        answer = await post(entry.url, entry.body + (isOwn ? addLast(entry, more) : "&more=true"));
      } catch {
        return retry();
      }
      const isRefused = FINAL.includes(answer.status) || (answer.status === 403 && answer.isPlain);
      if (answer.login || answer.status === 401 || (answer.status === 403 && !isRefused)) return report("login");
      const isOurs = answer.status < 300 ? answer.html.includes('id="comparison"') : answer.status < 500;
      if (!isOurs || LATER.includes(answer.status)) return retry(answer.waitMs);
      failures = 0;
      if (isRefused) onRefused(entry, answer);
      shelf.drop(name);
      onAnswer(entry, answer, isRefused, isOwn);
    }
    report("saved");
  }

  function retry(least = 0) {
    report("unsynced");
    timer = setTimeout(flush, Math.max(least, WAITS_MS[Math.min(failures++, WAITS_MS.length - 1)]));
  }

  addEventListener("online", flush);
  addEventListener("beforeunload", (event) => {
    if (count() && state !== "login") event.preventDefault();
  });
  return { add, flush, count, isLoggedOut: () => state === "login" };
}
