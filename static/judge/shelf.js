// What is kept on this computer under a prefix, as JSON. What the browser will not keep - its storage is full, or
// forbidden - is in the page's memory; and what this page kept is there too when another tab has dropped it.
export function openShelf(prefix) {
  const memory = new Map();

  function names() {
    let stored = [];
    try {
      stored = Object.keys(localStorage).filter((name) => name.startsWith(prefix));
    } catch {
      // A browser that keeps nothing.
    }
    return [...new Set([...stored, ...memory.keys()])].sort();
  }

  function take(name) {
    try {
      return memory.get(name) ?? JSON.parse(localStorage.getItem(name) ?? "null");
    } catch {
      return null; // half written when the computer went down
    }
  }

  function keep(name, value) {
    memory.set(name, value);
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      // It is in memory.
    }
  }

  function drop(name) {
    memory.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // It was never there.
    }
  }

  return { names, take, keep, drop, isOwn: (name) => memory.has(name) };
}
