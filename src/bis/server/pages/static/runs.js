// The table of runs: what is selected, and the view as an address. All of it is there without this, too.
// @ts-check

/** The selected runs, on whatever page of rows they stand: name by id, as the address has them. @type {Map<string, string>} */
const chosen = new Map();

/** @returns {HTMLInputElement[]} */
const boxes = () => /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("[data-pick]")]);

/** @returns {HTMLInputElement[]} */
const onPage = () => boxes().filter((box) => box.closest("tr"));

const elsewhere = /** @type {HTMLElement} */ (document.querySelector("#elsewhere"));

/** What the address says is selected. */
function read() {
  const names = new Map(boxes().map((box) => [box.value, box.dataset.name ?? ""]));
  chosen.clear();
  for (const id of new URLSearchParams(location.search).getAll("run"))
    if (names.has(id)) chosen.set(id, names.get(id) ?? "");
  show();
}

/** A box for each selected run, here or among those elsewhere; links and the address lead on with all of them. */
function show() {
  const here = new Set(onPage().map((box) => box.value));
  const there = new Set(boxes().filter((box) => !box.closest("tr")).map((box) => box.value));
  for (const [id, name] of chosen) if (!here.has(id) && !there.has(id)) elsewhere.querySelector("[data-chosen]")?.append(chip(id, name), " ");
  for (const box of boxes()) {
    box.checked = chosen.has(box.value);
    box.closest("tr")?.classList.toggle("picked", box.checked);
    if (!box.closest("tr") && here.has(box.value)) box.closest("label")?.remove();
  }
  elsewhere.hidden = !elsewhere.querySelector("[data-pick]");
  for (const place of document.querySelectorAll("[data-count]")) place.textContent = chosen.size ? String(chosen.size) : "";
  for (const one of document.querySelectorAll("[data-copy], [data-against], [data-all]")) /** @type {HTMLElement} */ (one).hidden = false;
  for (const all of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[data-all]"))) {
    const many = onPage().filter((box) => box.checked).length;
    all.checked = many > 0 && many === here.size;
    all.indeterminate = many > 0 && many < here.size;
  }
  lead();
}

/** @param {string} id @param {string} name */
function chip(id, name) {
  const label = document.createElement("label");
  label.className = "tag";
  const box = document.createElement("input");
  for (const [key, value] of Object.entries({ type: "checkbox", name: "run", value: id, form: "compare", "data-pick": "", "data-name": name }))
    box.setAttribute(key, value);
  label.append(box, ` ${name.replace(/[\p{C}]/gu, "\ufffd") || id}`);
  return label;
}

/** The address, and the links to other views of the same table, have what is selected. */
function lead() {
  const address = withChosen(location.href);
  if (address !== location.href) history.replaceState(history.state, "", address);
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("main a[href]")))
    if (link.pathname === location.pathname && !link.hasAttribute("data-none")) link.href = withChosen(link.href);
}

/** @param {string} address */
function withChosen(address) {
  const url = new URL(address);
  const before = url.searchParams.getAll("run");
  if (before.length === chosen.size && before.every((id) => chosen.has(id))) return address;
  url.searchParams.delete("run");
  for (const id of chosen.keys()) url.searchParams.append("run", id);
  return url.href;
}

/** @param {HTMLInputElement} box */
function pick(box) {
  if (box.checked) chosen.set(box.value, box.dataset.name ?? "");
  else chosen.delete(box.value);
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
const meant = () => document.activeElement?.closest("[data-rows] tbody tr") ?? onPage().find((box) => box.checked)?.closest("tr") ?? null;

/** @param {Element | null} row */
const runOf = (row) => /** @type {HTMLInputElement | null} */ (row?.querySelector("[data-pick]"))?.value ?? "";

/** Go to the difference of a row from the baseline, or from the row below it. @param {HTMLElement} button */
function compare(button) {
  const row = meant();
  const than = button.dataset.against || runOf(row?.nextElementSibling ?? null);
  const run = runOf(row);
  if (run && than && run !== than) location.assign(`${button.dataset.at}?${new URLSearchParams([["run", than], ["run", run]])}`);
}

document.addEventListener("change", (event) => {
  const box = /** @type {HTMLInputElement} */ (event.target);
  if (box.matches("[data-all]")) {
    for (const one of onPage()) {
      one.checked = box.checked;
      pick(one);
    }
  } else if (box.matches("[data-pick]")) pick(box);
  else return;
  show();
});
document.addEventListener("htmx:after:swap", show);
window.addEventListener("pageshow", read);
document.addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest("[data-copy], [data-against]");
  if (!(button instanceof HTMLElement)) return;
  if (button.hasAttribute("data-copy")) copy(button);
  else compare(button);
});
document.addEventListener("submit", (event) => {
  const few = event.submitter?.hasAttribute("formaction") ? 1 : 2;
  if (/** @type {HTMLFormElement} */ (event.target).id === "compare" && chosen.size < few) {
    event.preventDefault();
    for (const place of document.querySelectorAll("[data-count]")) place.textContent = `(select ${few === 1 ? "some" : "two or more"}: x)`;
  }
});
document.addEventListener("formdata", (event) => {
  const { formData: data, target } = /** @type {FormDataEvent & {target: HTMLFormElement}} */ (event);
  if (target.method === "get" && new URL(target.action).pathname === location.pathname) {
    data.delete("run");
    for (const id of chosen.keys()) data.append("run", id);
  }
  // An address says nothing of what was left empty.
  for (const [name, value] of [...data]) if (value === "") data.delete(name);
});
read();
