// The guideline in its drawer: where a pair comes under a newer one, that is fetched, and she is told until she opens it.
import { find, hear, home, page } from "./page.js";
import { read } from "./server.js";

const drawer = find("#guideline");
const notice = find("[data-newer]");

hear("shown", async ({ guideline }) => {
  if (!guideline || guideline === drawer.dataset.version) return;
  const answer = await read(home);
  const fresh = answer?.ok && find("#guideline", new DOMParser().parseFromString(await answer.text(), "text/html"));
  if (!fresh || page.section.dataset.guideline === drawer.dataset.version) return;
  drawer.replaceChildren(...fresh.childNodes);
  Object.assign(drawer.dataset, { ...fresh.dataset });
  find(".tools [popovertarget=guideline]").hidden = false;
  notice.hidden = false;
});

drawer.addEventListener("toggle", ({ newState }) => {
  if (newState === "open") notice.hidden = true;
});
