// @ts-check
// How the charts of a page are looked at. All of it stands behind the # of the address: a copied link shows the same.

/**
 * @typedef {{x: string, smooth: number, logy: boolean, logx: boolean, mode: string,
 *   hidden: string[], windows: Record<string, [number, number]>}} Settings
 */

/** @type {Set<() => void>} */
const listening = new Set();

/** @returns {Settings} */
function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  /** @type {Record<string, [number, number]>} */
  const windows = {};
  for (const one of said.getAll("zoom")) {
    const [last, first, ...key] = one.split("~").reverse();
    if (key.length && Number.isFinite(Number(first)) && Number(first) < Number(last))
      windows[key.reverse().join("~")] = [Number(first), Number(last)];
  }
  const smooth = Number(said.get("smooth"));
  return {
    x: said.get("x") || "step", smooth: smooth > 0 && smooth < 1 ? smooth : 0, logy: said.has("logy"),
    logx: said.has("logx"), mode: said.get("mode") || "", hidden: said.getAll("hide"), windows,
  };
}

let now = read();

/** @returns {Settings} */
export const settings = () => now;

/** @param {Partial<Settings>} changes */
export function change(changes) {
  now = { ...now, ...changes };
  if (changes.x !== undefined) now.windows = {}; // which were in another unit
  const said = new URLSearchParams();
  if (now.x !== "step") said.set("x", now.x);
  if (now.smooth) said.set("smooth", String(now.smooth));
  if (now.logy) said.set("logy", "");
  if (now.logx) said.set("logx", "");
  if (now.mode) said.set("mode", now.mode);
  for (const run of now.hidden) said.append("hide", run);
  for (const [key, [first, last]] of Object.entries(now.windows)) said.append("zoom", `${key}~${first}~${last}`);
  const hash = said.toString();
  history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search);
  for (const one of listening) one();
}

/** @param {string} key @param {[number, number]|null} window */
export function zoom(key, window) {
  const { [key]: _, ...others } = now.windows;
  change({ windows: window ? { ...others, [key]: window } : others });
}

/** Leave a run out of all charts, or show it again. @param {string} run */
export function toggle(run) {
  const { hidden } = now;
  change({ hidden: hidden.includes(run) ? hidden.filter((one) => one !== run) : [...hidden, run] });
}

/** @param {() => void} listener @returns {() => void} to stop */
export function listen(listener) {
  listening.add(listener);
  return () => listening.delete(listener);
}

addEventListener("hashchange", () => {
  if (location.hash && !location.hash.includes("=")) return; // a place in the page
  now = read();
  for (const one of listening) one();
});

/** Let a form say, and show, how charts are looked at: fields are called as settings are.
 * @param {HTMLFormElement} form */
export function bind(form) {
  const show = () => {
    for (const field of /** @type {Iterable<HTMLInputElement>} */ (/** @type {unknown} */ (form.elements))) {
      const value = now[/** @type {"x"} */ (field.name)];
      if (value === undefined) continue;
      if (field.type === "checkbox") field.checked = Boolean(value);
      else field.value = String(value);
    }
    for (const output of form.querySelectorAll("output")) output.value = now.smooth ? String(now.smooth) : "off";
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const field = /** @type {HTMLInputElement} */ (event.target);
    if (!(field.name in now)) return;
    const value = field.type === "checkbox" ? field.checked : field.type === "range" ? Number(field.value) : field.value;
    change({ [field.name]: value });
  });
  listen(show);
  show();
}
