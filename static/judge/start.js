// The judge page. Each module listens for what it has to do with; here it begins.
import "./answers.js";
import "./copying.js";
import "./guideline.js";
import "./keys.js";
import "./refused.js";
import { main } from "./page.js";
import { begin } from "./pair.js";
import { outbox } from "./sending.js";

main.dataset.ready = "";
begin();
outbox.flush();
