// A request to the server, as the server's own forms would make it.
const TIMEOUT_MS = 20_000;
const headers = JSON.parse(document.body.getAttribute("hx-headers"));

export async function post(url, body = "") {
  const answer = await fetch(url, {
    method: "POST",
    body,
    headers: { ...headers, "HX-Request": "true", "HX-Current-URL": location.href, "Content-Type": "application/x-www-form-urlencoded" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const html = await answer.text();
  const read = (name) => answer.headers.get(name);
  return {
    status: answer.status,
    html,
    isPlain: (read("Content-Type") ?? "").startsWith("text/plain"),
    login: read("HX-Redirect"),
    address: read("HX-Replace-Url"),
    waitMs: 1000 * (Number(read("Retry-After")) || 0),
  };
}

export const read = (url) => fetch(url, { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => null);
