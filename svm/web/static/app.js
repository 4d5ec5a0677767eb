// What the pages do beyond plain HTML: parts that have changed are put in place, text is copied, forms are checked
// as one types. Without script every page and every button works, by loading pages.

const main = document.querySelector("main");
const program = document.body.dataset.program;
const link = document.querySelector("#link");
let asked = 0;

async function refresh(address = location.href) {
  const mine = ++asked;
  let text;
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (answer.status === 401) return say(`${program} has ended; run it again`);
    if (answer.status === 404) return say("what this page shows is no longer there");
    if (!answer.ok && answer.status !== 400) return say("could not be read just now; trying again");
    text = await answer.text();
  } catch {
    return say(`${program} does not answer; is it still running?`);
  }
  if (mine !== asked) return; // a later one is under way
  say("");
  place(new DOMParser().parseFromString(text, "text/html"));
}

function place(fresh) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const next = fresh.getElementById(part.id);
    if (!next) continue;
    for (const old of part.querySelectorAll("input[type=checkbox]:checked")) {
      const box = next.querySelector(`input[name="${old.name}"][value="${CSS.escape(old.value)}"]`);
      if (box) box.checked = true;
    }
    for (const old of part.querySelectorAll("input[id]:not([type=checkbox])")) {
      const field = next.querySelector(`#${CSS.escape(old.id)}`);
      if (field && old.value !== old.defaultValue) field.value = old.value;
    }
    for (const old of part.querySelectorAll("details[id][open]")) next.querySelector(`#${CSS.escape(old.id)}`)?.setAttribute("open", "");
    prepare(next);
    if (next.isEqualNode(part)) continue;
    const scrolled = [...part.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    const focused = part.contains(document.activeElement) ? locator(document.activeElement) : null;
    part.replaceWith(next);
    [...next.querySelectorAll(".scroll")].forEach((each, at) => (each.scrollLeft = scrolled[at] ?? 0));
    if (focused) next.querySelector(focused)?.focus({ preventScroll: true });
  }
  // The page of an operation that has ended is not followed any more.
  if (main.dataset.live && !fresh.querySelector("main").dataset.live) {
    delete main.dataset.live;
    follow();
  }
}

function locator(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const name = ["href", "aria-label", "data-copy", "formaction"].find((each) => element.hasAttribute(each));
  if (name) return `[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  return element.form ? `form[action="${CSS.escape(element.form.getAttribute("action"))}"] button` : null;
}

function say(text) {
  if (link && link.textContent !== text) link.textContent = text;
}

let source = null;
function follow() {
  source?.close();
  source = null;
  if (!main.dataset.live || document.hidden) return;
  source = new EventSource(main.dataset.live);
  source.addEventListener("changed", () => refresh());
  source.onerror = () => say(`the connection to ${program} is lost; trying again`);
  source.onopen = () => say("");
}

function prepare(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
});

// A button works once, until its page has been answered.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 5000);
});

const form = document.querySelector("form[data-check]");
if (form) {
  let timer;
  const check = () => {
    clearTimeout(timer);
    timer = setTimeout(() => refresh(`/new?${new URLSearchParams(new FormData(form))}`), 300);
  };
  form.addEventListener("input", check);
  form.querySelector("[data-check-button]").hidden = true;
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && main.dataset.live) refresh();
  follow();
});
prepare(document);
follow();
