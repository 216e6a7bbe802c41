// What a labeler decided is written down here before it is sent, and sent in order until the server has answered it.
// The same idempotency key goes with every try, so nothing is doubled; another tab, or the next visit, sends what is left.
const WAITS_MS = [1000, 2000, 5000, 10_000, 30_000];
const TIMEOUT_MS = 20_000;
const FINAL = [400, 404, 413, 422]; // another try of the same would be refused the same
const headers = JSON.parse(document.body.getAttribute("hx-headers"));

export async function post(url, body = "") {
  const answer = await fetch(url, {
    method: "POST",
    body,
    headers: { ...headers, "HX-Request": "true", "HX-Current-URL": location.href, "Content-Type": "application/x-www-form-urlencoded" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const html = await answer.text();
  const isPlain = (answer.headers.get("Content-Type") ?? "").startsWith("text/plain");
  return { status: answer.status, isPlain, login: answer.headers.get("HX-Redirect"), address: answer.headers.get("HX-Replace-Url"), html };
}

// owner: whose votes these are, for a computer has many users. addLast: what goes with a body at the moment it is sent.
// onState(state, count): saved, sending, unsynced or login. onAnswer(entry, answer): of this tab's entries only.
// onRefused(): what the server will not have as it is waits in refused, with the server's words, until it is dropped.
export function openOutbox({ owner, addLast, onState, onAnswer, onRefused }) {
  const prefix = `prefloop:outbox:${owner}:`;
  const refused = openRefused(`prefloop:refused:${owner}:`);
  const own = new Map(); // what the storage refused, or another tab has sent for us, is kept here too
  let state = "saved";
  let failures = 0;
  let timer = 0;
  let draining = null;

  function list() {
    let stored = [];
    try {
      stored = Object.keys(localStorage).filter((name) => name.startsWith(prefix));
    } catch {
      // A browser that keeps nothing: what is in this page's memory has to do.
    }
    return [...new Set([...stored, ...own.keys()])].sort();
  }

  function read(name) {
    try {
      return own.get(name) ?? JSON.parse(localStorage.getItem(name) ?? "null");
    } catch {
      return null; // half written when the computer went down
    }
  }

  function remove(name) {
    own.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // What could not be kept need not be removed.
    }
  }

  function report(next) {
    state = next;
    onState(state, list().length);
  }

  function add(entry) {
    const name = `${prefix}${String(Date.now()).padStart(15, "0")}:${Math.random().toString(36).slice(2)}`;
    own.set(name, entry);
    try {
      localStorage.setItem(name, JSON.stringify(entry));
    } catch {
      // Full, or forbidden: it is in memory, and the page asks before it is closed.
    }
    report(state === "saved" ? "sending" : state);
    flush();
  }

  function flush() {
    clearTimeout(timer);
    draining ??= withLock(drain).finally(() => {
      draining = null;
      if (state === "sending" && list().length) flush(); // added after the last look, it was promised to this run
    });
    return draining;
  }

  // One tab sends at a time. Without locks (plain http) two may: the server knows the key and stores it once.
  const withLock = (act) => (navigator.locks ? navigator.locks.request(prefix, act) : act());

  async function drain() {
    for (let name = list()[0]; name; name = list()[0]) {
      const isOwn = own.has(name);
      const entry = read(name);
      if (typeof entry?.url !== "string") {
        remove(name);
        continue;
      }
      if (state !== "unsynced") report("sending");
      let answer;
      try {
        const more = list().length > 1;
        answer = await post(entry.url, entry.body + (isOwn ? addLast(entry, more) : "&more=true"));
      } catch {
        return retry();
      }
      const isFinal = FINAL.includes(answer.status) || (answer.status === 403 && answer.isPlain);
      if (answer.login || answer.status === 401 || (answer.status === 403 && !isFinal)) return report("login");
      const isOurs = answer.status < 300 ? answer.html.includes('id="comparison"') : answer.status < 500;
      if (!isOurs || answer.status === 429 || answer.status === 408) return retry();
      failures = 0;
      if (isFinal) refused.keep(entry, answer);
      else refused.drop(entry);
      remove(name);
      if (isOwn) onAnswer(entry, answer);
      onRefused();
    }
    report("saved");
  }

  function retry() {
    report("unsynced");
    timer = setTimeout(flush, WAITS_MS[Math.min(failures++, WAITS_MS.length - 1)]);
  }

  addEventListener("online", flush);
  addEventListener("beforeunload", (event) => {
    if (list().length && state !== "login") event.preventDefault();
  });
  return { add, flush, refused, count: () => list().length, isLoggedOut: () => state === "login" };
}

// Votes the server refused, one of each pair, so that nothing she wrote is gone before she says so.
function openRefused(prefix) {
  const own = new Map();
  const nameOf = (entry) => prefix + (entry.slot ?? entry.url);

  function readWords(answer) {
    if (answer.isPlain) return answer.html;
    const page = Object.assign(document.createElement("template"), { innerHTML: answer.html }).content;
    return page.querySelector("#comparison")?.dataset.notice ?? "";
  }

  function keep(entry, answer) {
    if (entry.act === "skip") return;
    const kept = { ...entry, words: readWords(answer) };
    own.set(nameOf(entry), kept);
    try {
      localStorage.setItem(nameOf(entry), JSON.stringify(kept));
    } catch {
      // It is in memory.
    }
  }

  function drop(entry) {
    own.delete(nameOf(entry));
    try {
      localStorage.removeItem(nameOf(entry));
    } catch {
      // It was never there.
    }
  }

  function list() {
    const found = new Map(own);
    try {
      for (const name of Object.keys(localStorage).filter((key) => key.startsWith(prefix))) found.set(name, JSON.parse(localStorage.getItem(name)));
    } catch {
      // What is in memory has to do.
    }
    return [...found.values()].filter((entry) => entry?.url);
  }

  return { keep, drop, list };
}
