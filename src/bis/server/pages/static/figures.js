// @ts-check
// Two params or metrics of runs against each other, and a third one as a contour: with Observable Plot, which is loaded
// only when somebody opens this.

import { axes, short } from "./parallel.js";

/** @typedef {import("./overlay.js").Run} Run */

/** @type {Promise<any>|undefined} */
let library;

/** @returns {Promise<any>} */
function plotting() {
  library ??= ["vendor/d3.min.js", "vendor/plot.umd.min.js"].reduce(
    (before, name) =>
      before.then(
        () =>
          new Promise((resolve, reject) => {
            const script = document.createElement("script");
            script.src = new URL(name, import.meta.url).href;
            script.onload = () => resolve(/** @type {any} */ (window).Plot);
            script.onerror = () => {
              library = undefined; // so that it can be tried again
              reject(new Error("the file that draws it did not come"));
            };
            document.head.append(script);
          }),
      ),
    /** @type {Promise<any>} */ (Promise.resolve()),
  );
  return library;
}

/** @param {HTMLElement} root @param {Run[]} runs @param {string[]} metrics */
export async function figures(root, runs, metrics) {
  const all = axes(runs, metrics);
  if (all.length < 2) {
    root.textContent = "Fewer than two params or metrics differ between these runs: there is nothing to set against each other.";
    return;
  }
  const Plot = await plotting();
  const form = document.createElement("form");
  form.className = "chart-bar";
  form.addEventListener("submit", (event) => event.preventDefault());
  const metric = all.filter((axis) => axis.kind === "metric");
  const numbers = all.filter((axis) => !axis.words);
  const [x, y, z] = [
    field("Across", all, all[0]), field("Up", all, metric[0] ?? all[1]),
    field("Contour", numbers, undefined, "none"),
  ];
  form.append(x.label, y.label, z.label);
  const body = document.createElement("div");
  body.className = "figure-body";
  const said = document.createElement("p");
  said.className = "soft";
  said.setAttribute("role", "status");
  root.append(form, body, said);
  const value = (/** @type {Run} */ run, /** @type {import("./parallel.js").Axis} */ axis) => {
    const found = axis.kind === "param" ? run.params[axis.name] : run.metrics[axis.name];
    return axis.words || found === undefined ? found : Number(found);
  };
  const usable = (/** @type {any} */ one) => one !== undefined && (typeof one === "string" || Number.isFinite(one));
  const draw = () => {
    const [across, up, third] = [x, y, z].map((one) => all.find((axis) => key(axis) === one.select.value));
    if (!across || !up) return;
    const rows = runs
      .map((run) => ({ run, x: value(run, across), y: value(run, up), z: third && value(run, third) }))
      .filter((row) => usable(row.x) && usable(row.y) && (!third || usable(row.z)));
    const shade = matchMedia("(prefers-color-scheme: dark)").matches ? 66 : 38;
    const room = root.clientWidth || 600;
    const contour = third && !across.words && !up.words && new Set(rows.map((row) => `${row.x} ${row.y}`)).size >= 3;
    const figure = Plot.plot({
      width: Math.min(room, 760), height: 380, marginLeft: 70, marginRight: 60, marginBottom: 42,
      x: { label: across.name, grid: true, type: across.words ? "point" : "linear" },
      y: { label: up.name, grid: true, type: up.words ? "point" : "linear" },
      color: { scheme: "viridis" },
      marks: [
        contour ? Plot.contour(rows, { x: "x", y: "y", fill: "z", stroke: "currentColor", strokeOpacity: 0.3, fillOpacity: 0.6, interpolate: "barycentric", thresholds: 8, clip: true }) : null,
        Plot.dot(rows, {
          x: "x", y: "y", r: 4.5, fill: (/** @type {any} */ row) => `hsl(${row.run.hue} 65% ${shade}%)`, stroke: contour ? "white" : "none",
          title: (/** @type {any} */ row) => `${row.run.name}\n${across.name} ${row.x}\n${up.name} ${row.y}${third ? `\n${third.name} ${row.z}` : ""}`,
        }),
        rows.length <= 12 ? Plot.text(rows, { x: "x", y: "y", text: (/** @type {any} */ row) => row.run.name.slice(0, 16), dy: -10, fill: "currentColor" }) : null,
      ],
    });
    figure.setAttribute("role", "img");
    figure.setAttribute("aria-label", `${up.name} against ${across.name}, ${rows.length} runs`);
    body.replaceChildren(figure);
    const left = runs.length - rows.length;
    const ends = third && rows.length ? ` The contour is of ${third.name}, from ${short(Math.min(...rows.map((row) => Number(row.z))))} (dark) to ${short(Math.max(...rows.map((row) => Number(row.z))))} (bright).` : "";
    const few = third && !contour ? " A contour needs numbers on both axes, and three different places." : contour ? ends : "";
    said.textContent = `${rows.length} of ${runs.length} runs are drawn${left ? `; ${left} have no number there` : ""}.${few}`;
  };
  form.addEventListener("input", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

/** @param {import("./parallel.js").Axis} axis */
const key = (axis) => `${axis.kind}:${axis.name}`;

/** @param {string} word @param {import("./parallel.js").Axis[]} some @param {import("./parallel.js").Axis|undefined} first @param {string} [none] */
function field(word, some, first, none) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  if (none) select.append(new Option(none, ""));
  for (const axis of some.slice(0, 300)) select.append(new Option(axis.name, key(axis), false, axis === first));
  label.append(`${word} `, select);
  return { label, select };
}
