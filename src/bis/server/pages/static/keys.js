// The keys that work on every page, listed by `?`. An element with `data-key` is clicked, or focused, by that key;
// `data-word` says what it does. In a table with `data-rows`, each row has a link with `data-row`, and may have a box
// with `data-pick`.
// @ts-check

/** @param {EventTarget | null} target */
const field = (target) =>
  target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

/** @returns {HTMLElement[]} */
const rows = () => [...document.querySelectorAll("[data-rows] [data-row]")].map((row) => /** @type {HTMLElement} */ (row));

/** The row that is looked at: the one with the focus. */
const current = () => document.activeElement?.closest("[data-rows] tr") ?? null;

/** @param {number} by */
function step(by) {
  const all = rows();
  const at = all.findIndex((row) => row.closest("tr") === current());
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
  all[next]?.focus();
  all[next]?.scrollIntoView({ block: "nearest" });
}

/** @type {Record<string, [string, () => void]>} */
const moves = {
  j: ["Next row", () => step(1)],
  k: ["Row before", () => step(-1)],
  x: ["Select the row", () => /** @type {HTMLElement | null} */ (current()?.querySelector("[data-pick]"))?.click()],
  o: ["Open the row", () => /** @type {HTMLElement | null} */ (current()?.querySelector("[data-row]"))?.click()],
  b: ["Hold the others against the row", () => /** @type {HTMLElement | null} */ (current()?.querySelector("[data-pin]"))?.click()],
};

/** @returns {Record<string, [string, () => void]>} */
function known() {
  const found = /** @type {Record<string, [string, () => void]>} */ ({});
  for (const element of document.querySelectorAll("[data-key]")) {
    const one = /** @type {HTMLElement} */ (element);
    const word = one.dataset.word ?? one.getAttribute("aria-label") ?? one.textContent ?? "";
    found[one.dataset.key ?? ""] ??= [word.trim(), () => (field(one) ? one.focus() : one.click())];
  }
  if (rows().length) {
    for (const [key, move] of Object.entries(moves)) {
      if (key !== "x" || document.querySelector("[data-pick]")) if (key !== "b" || document.querySelector("[data-pin]")) found[key] ??= move;
    }
  }
  found["?"] = ["This list", list];
  return found;
}

/** Show the keys of this page, or put the list away. */
function list() {
  const open = document.querySelector("dialog.keys");
  if (open) {
    /** @type {HTMLDialogElement} */ (open).close();
    return;
  }
  const dialog = document.createElement("dialog");
  dialog.className = "keys card";
  dialog.setAttribute("aria-label", "Keys");
  const heading = document.createElement("h2");
  heading.textContent = "Keys";
  const words = document.createElement("dl");
  words.className = "facts";
  for (const [key, [word]] of Object.entries(known())) {
    const term = document.createElement("dt");
    term.append(document.createElement("kbd"));
    /** @type {HTMLElement} */ (term.firstChild).textContent = key;
    const said = document.createElement("dd");
    said.textContent = word;
    words.append(term, said);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.append(heading, words, close);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || field(event.target)) return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const found = known()[event.key];
  if (!found) return;
  event.preventDefault();
  found[1]();
});

for (const button of document.querySelectorAll("[data-keys]")) {
  /** @type {HTMLElement} */ (button).hidden = false;
  button.addEventListener("click", list);
}
