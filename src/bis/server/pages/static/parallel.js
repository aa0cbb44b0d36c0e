// @ts-check
// Parallel coordinates: an upright axis for each param and metric that differs, a line for each run. Drag along an axis,
// or type its limits, and the runs that pass between them stay; the table below always says which.

/** @typedef {import("./overlay.js").Run} Run */
/** @typedef {{name: string, kind: "param"|"metric", words: string[]|null, low: number, high: number}} Axis */

const HEIGHT = 300;
const EDGE = { left: 60, right: 60, top: 34, below: 22 };
const MOST = 8;

/** @param {unknown} value */
const numeric = (value) => (value === "" || value === undefined || value === null ? NaN : Number(value));

/** @param {Run} run @param {Axis} axis @returns {number} where it passes the axis, NaN where it has no value */
function place(run, axis) {
  const value = axis.kind === "param" ? run.params[axis.name] : run.metrics[axis.name];
  return axis.words ? (value === undefined ? NaN : axis.words.indexOf(String(value))) : numeric(value);
}

/** What differs between runs, params first, the metrics of most runs behind them.
 * @param {Run[]} runs @param {string[]} metrics @returns {Axis[]} */
export function axes(runs, metrics) {
  const params = [...new Set(runs.flatMap((run) => Object.keys(run.params)))].sort();
  /** @type {Axis[]} */
  const found = [];
  for (const [kind, names] of /** @type {["param"|"metric", string[]][]} */ ([["param", params], ["metric", metrics]]))
    for (const name of names) {
      const values = runs.map((run) => (kind === "param" ? run.params[name] : run.metrics[name])).filter((one) => one !== undefined);
      if (new Set(values.map(String)).size < 2) continue;
      const numbers = values.map(numeric).filter(Number.isFinite);
      const words = kind === "param" && numbers.length < values.length ? [...new Set(values.map(String))].sort() : null;
      if (!words && new Set(numbers).size < 2) continue;
      const ends = words ? [0, words.length - 1] : [Math.min(...numbers), Math.max(...numbers)];
      found.push({ name, kind, words, low: ends[0], high: ends[1] });
    }
  return found;
}

/** @param {HTMLElement} root @param {Run[]} runs @param {string[]} metrics @param {string} address of a run, with {} for its id */
export function parallel(root, runs, metrics, address) {
  const all = axes(runs, metrics);
  if (all.length < 2) {
    root.append(text("p", "soft", "Fewer than two params or metrics differ between these runs: there is nothing to set against each other."));
    return;
  }
  const params = all.filter((axis) => axis.kind === "param").slice(0, MOST / 2);
  let chosen = [...params, ...all.filter((axis) => axis.kind === "metric").slice(0, MOST - params.length)];
  /** @type {Map<Axis, [number, number]>} */
  const brushes = new Map();
  const canvas = document.createElement("canvas");
  canvas.className = "parallel-canvas";
  canvas.height = HEIGHT;
  canvas.setAttribute("role", "img");
  const status = text("p", "soft", "");
  status.setAttribute("role", "status");
  const limits = document.createElement("div");
  limits.className = "brushes";
  const { holder, rows } = table(runs, () => chosen, address);
  root.append(choice(all, () => chosen, (some) => ((chosen = some), rebuild())), canvas, limits, status, holder);
  const passes = (/** @type {Run} */ run) =>
    chosen.every((axis) => {
      const brush = brushes.get(axis);
      const at = place(run, axis);
      return !brush || (at >= brush[0] && at <= brush[1]);
    });
  const x = (/** @type {number} */ number) => EDGE.left + ((canvas.clientWidth - EDGE.left - EDGE.right) * number) / Math.max(1, chosen.length - 1);
  const y = (/** @type {number} */ at, /** @type {Axis} */ axis) => HEIGHT - EDGE.below - ((HEIGHT - EDGE.top - EDGE.below) * (at - axis.low)) / (axis.high - axis.low || 1);
  const value = (/** @type {number} */ py, /** @type {Axis} */ axis) => axis.low + ((HEIGHT - EDGE.below - py) / (HEIGHT - EDGE.top - EDGE.below)) * (axis.high - axis.low);

  const draw = () => {
    const ratio = devicePixelRatio;
    const style = getComputedStyle(root);
    const shade = matchMedia("(prefers-color-scheme: dark)").matches ? 66 : 38;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = HEIGHT * ratio;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.scale(ratio, ratio);
    context.font = "11px system-ui, sans-serif";
    const kept = runs.filter(passes);
    for (const [some, alpha] of /** @type {[Run[], number][]} */ ([[runs.filter((run) => !passes(run)), 0.08], [kept, runs.length > 60 ? 0.5 : 0.9]]))
      for (const run of some) {
        context.strokeStyle = `hsl(${run.hue} 65% ${shade}% / ${alpha})`;
        context.lineWidth = 1.5;
        context.setLineDash(runs.length <= 12 && run.dashes ? run.dashes.split(" ").map(Number) : []);
        context.beginPath();
        let pen = false;
        chosen.forEach((axis, number) => {
          const at = place(run, axis);
          if (!Number.isFinite(at)) return void (pen = false);
          if (pen) context.lineTo(x(number), y(at, axis));
          else context.moveTo(x(number), y(at, axis));
          pen = true;
        });
        context.stroke();
      }
    context.setLineDash([]);
    context.fillStyle = style.color;
    context.strokeStyle = style.color;
    chosen.forEach((axis, number) => {
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x(number), EDGE.top), context.lineTo(x(number), HEIGHT - EDGE.below);
      context.stroke();
      context.textAlign = "center";
      const room = (canvas.clientWidth - EDGE.left - EDGE.right) / Math.max(1, chosen.length - 1);
      context.fillText(cut(axis.name, room), x(number), 14);
      const ends = axis.words ? axis.words.map((word, at) => [word, at]) : [[short(axis.low), axis.low], [short(axis.high), axis.high]];
      context.textAlign = number === 0 ? "right" : "left";
      for (const [word, at] of ends.slice(0, 12)) context.fillText(cut(String(word), 80), x(number) + (number === 0 ? -6 : 6), y(Number(at), axis) + 4);
      const brush = brushes.get(axis);
      if (brush) {
        context.globalAlpha = 0.25;
        context.fillRect(x(number) - 6, y(brush[1], axis) - 2, 12, y(brush[0], axis) - y(brush[1], axis) + 4);
        context.globalAlpha = 1;
      }
    });
    const ids = new Set(kept.map((run) => run.id));
    for (const [id, row] of rows) row.hidden = !ids.has(id);
    const said = `${kept.length} of ${runs.length} runs pass`;
    status.textContent = brushes.size ? said : `${runs.length} runs; drag along an axis, or type limits, to keep some of them`;
    canvas.setAttribute("aria-label", `Parallel coordinates of ${chosen.map((axis) => axis.name).join(", ")}. ${said}; the table below lists them.`);
  };

  const rebuild = () => {
    for (const axis of [...brushes.keys()]) if (!chosen.includes(axis)) brushes.delete(axis);
    limits.replaceChildren(...chosen.filter((axis) => !axis.words).map((axis) => fields(axis, brushes, draw)));
    head(holder, chosen, runs, rows);
    draw();
  };

  let from = NaN;
  /** @type {Axis|undefined} */
  let held;
  const at = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, Math.min(HEIGHT - EDGE.below, Math.max(EDGE.top, event.clientY - box.top))];
  };
  canvas.addEventListener("pointerdown", (event) => {
    const [px, py] = at(event);
    const near = chosen.map((axis, number) => /** @type {[number, Axis]} */ ([Math.abs(x(number) - px), axis])).sort((one, other) => one[0] - other[0])[0];
    if (!near || near[0] > 30) return;
    [held, from] = [near[1], py];
    canvas.setPointerCapture(event.pointerId);
    brushes.delete(held);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const py = at(event)[1];
    if (Math.abs(py - from) < 3) brushes.delete(held);
    else brushes.set(held, [value(Math.max(py, from), held), value(Math.min(py, from), held)]);
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    held = undefined;
    rebuild();
  });
  new ResizeObserver(draw).observe(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  rebuild();
}

/** @param {string} name @param {string} kind @param {string} said */
function text(name, kind, said) {
  const made = document.createElement(name);
  made.className = kind;
  made.textContent = said;
  return made;
}

/** @param {string} said @param {number} room */
const cut = (said, room) => (said.length * 6.2 > room ? `${said.slice(0, Math.max(1, Math.floor(room / 6.2) - 1))}…` : said);

/** @param {number} value */
export const short = (value) => String(Number(value.toPrecision(4)));

/** @param {Axis[]} all @param {() => Axis[]} chosen @param {(some: Axis[]) => void} choose */
function choice(all, chosen, choose) {
  const details = document.createElement("details");
  details.append(text("summary", "", `Axes (${all.length} differ)`));
  const list = document.createElement("div");
  list.className = "brushes";
  for (const axis of all.slice(0, 200)) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = chosen().includes(axis);
    box.addEventListener("change", () => choose(all.filter((one) => (one === axis ? box.checked : chosen().includes(one)))));
    label.append(box, ` ${axis.name}`);
    list.append(label);
  }
  details.append(list);
  return details;
}

/** Two fields for the limits of an axis, for those who do not drag.
 * @param {Axis} axis @param {Map<Axis, [number, number]>} brushes @param {() => void} draw */
function fields(axis, brushes, draw) {
  const set = document.createElement("fieldset");
  set.append(text("legend", "", axis.name));
  const brush = brushes.get(axis);
  const [low, high] = ["from", "to"].map((word, side) => {
    const field = document.createElement("input");
    field.type = "number";
    field.step = "any";
    field.setAttribute("aria-label", `${axis.name} ${word}`);
    field.placeholder = short(side ? axis.high : axis.low);
    if (brush) field.value = short(brush[side]);
    return field;
  });
  set.addEventListener("input", () => {
    if (!low.value && !high.value) brushes.delete(axis);
    else brushes.set(axis, [low.value ? Number(low.value) : -Infinity, high.value ? Number(high.value) : Infinity]);
    draw();
  });
  set.append(low, "–", high);
  return set;
}

/** @param {Run[]} runs @param {() => Axis[]} chosen @param {string} address */
function table(runs, chosen, address) {
  const holder = document.createElement("div");
  holder.className = "scroll parallel-runs";
  for (const [key, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": "Runs that pass" })) holder.setAttribute(key, value);
  const made = document.createElement("table");
  made.append(document.createElement("thead"), document.createElement("tbody"));
  holder.append(made);
  /** @type {Map<string, HTMLTableRowElement>} */
  const rows = new Map();
  for (const run of runs) {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    const link = document.createElement("a");
    link.href = address.replace("{}", encodeURIComponent(run.id));
    link.className = "chart-run";
    link.title = run.name;
    link.textContent = run.name.replace(/[\p{C}]/gu, "\ufffd");
    name.append(link);
    row.append(name);
    rows.set(run.id, row);
    made.tBodies[0].append(row);
  }
  return { holder, rows };
}

/** @param {HTMLElement} holder @param {Axis[]} chosen @param {Run[]} runs @param {Map<string, HTMLTableRowElement>} rows */
function head(holder, chosen, runs, rows) {
  const titles = document.createElement("tr");
  for (const name of ["run", ...chosen.map((axis) => axis.name)]) {
    const cell = text("th", name === "run" ? "" : "number", name);
    cell.setAttribute("scope", "col");
    titles.append(cell);
  }
  /** @type {HTMLTableElement} */ (holder.firstElementChild).tHead?.replaceChildren(titles);
  for (const run of runs) {
    const row = /** @type {HTMLTableRowElement} */ (rows.get(run.id));
    const cells = chosen.map((axis) => text("td", "number", String((axis.kind === "param" ? run.params[axis.name] : run.metrics[axis.name]) ?? "")));
    row.replaceChildren(row.cells[0], ...cells);
  }
}
