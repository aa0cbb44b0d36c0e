// The table of runs: what is selected, and the view as an address. All of it is there without this, too.
// @ts-check

/** @returns {HTMLInputElement[]} */
const picked = () => [...document.querySelectorAll("[data-pick]:checked")].map((box) => /** @type {HTMLInputElement} */ (box));

/** Say how many are selected; show what works with scripts alone. */
function tell() {
  const count = picked().length;
  for (const box of document.querySelectorAll("[data-pick]"))
    box.closest("tr")?.classList.toggle("picked", /** @type {HTMLInputElement} */ (box).checked);
  for (const place of document.querySelectorAll("[data-count]")) place.textContent = count ? String(count) : "";
  for (const one of document.querySelectorAll("[data-copy], [data-against]")) /** @type {HTMLElement} */ (one).hidden = false;
}

/** @param {HTMLElement} button */
async function copy(button) {
  const address = location.href;
  try {
    await navigator.clipboard.writeText(address);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy it from the address bar";
  }
  setTimeout(() => (button.textContent = "Copy view"), 2000);
}

/** The row that has the focus, or the first that is selected. */
const meant = () => document.activeElement?.closest("[data-rows] tbody tr") ?? picked()[0]?.closest("tr") ?? null;

/** @param {Element | null} row */
const runOf = (row) => /** @type {HTMLInputElement | null} */ (row?.querySelector("[data-pick]"))?.value ?? "";

/** Go to the difference of a row from the baseline, or from the row below it. @param {HTMLElement} button */
function compare(button) {
  const row = meant();
  const than = button.dataset.against || runOf(row?.nextElementSibling ?? null);
  const run = runOf(row);
  if (run && than && run !== than) location.assign(`${button.dataset.at}?${new URLSearchParams([["run", than], ["run", run]])}`);
}

document.addEventListener("change", tell);
document.addEventListener("htmx:after:swap", tell);
window.addEventListener("pageshow", tell);
document.addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("[data-copy], [data-against]");
  if (!(button instanceof HTMLElement)) return;
  if (button.hasAttribute("data-copy")) copy(button);
  else compare(button);
});
document.addEventListener("submit", (event) => {
  if (/** @type {HTMLFormElement} */ (event.target).id === "compare" && picked().length < 2) {
    event.preventDefault();
    for (const place of document.querySelectorAll("[data-count]")) place.textContent = "(select two or more: x)";
  }
});
document.addEventListener("formdata", (event) => {
  // An address says nothing of what was left empty.
  const data = /** @type {FormDataEvent} */ (event).formData;
  for (const [name, value] of [...data]) if (value === "") data.delete(name);
});
tell();
