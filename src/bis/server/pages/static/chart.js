// @ts-check
// <bis-chart data-src="/runs/ID/chart" data-metric="loss"> draws a metric of one run, and with data-runs='["A", "B"]'
// and data-src="/chart" of several. What stands in it is what people read without scripts. It asks the server when it
// comes into view, asks again for each zoom, and, while a run is under way, for what has come since.

import { aligned, against, drawn, escaped, heights, nearest, positive, smoothed, tickTexts, told, widths } from "./curves.js";
import { bind, listen, settings, toggle, zoom } from "./looking.js";

/** @typedef {import("./curves.js").Drawn} Drawn */

const SOONEST = 1000;
/** Milliseconds between two questions about a run that is under way, when nothing comes of them. */
const LATEST = 30_000;
const MARKS = { NaN: "NaN", Infinity: "+∞", "-Infinity": "−∞" };
/** How times stand at an axis: the narrow words of each tick, and below it what is new since the one before. */
const TIMES = (() => {
  const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
  const date = "\n{YYYY}-{MM}-{DD}";
  return [
    [day * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [day * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
    [day, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
    [minute, "{HH}:{mm}", date, null, date, null, null, null, 1],
    [second, "{HH}:{mm}:{ss}", date, null, date, null, null, null, 1],
    [1, ":{ss}.{fff}", `${date} {HH}:{mm}`, null, `${date} {HH}:{mm}`, null, "\n{HH}:{mm}", null, 1],
    [hour, "{HH}:{mm}", date, null, date, null, null, null, 1],
  ].sort((one, other) => Number(other[0]) - Number(one[0]));
})();
const dark = matchMedia("(prefers-color-scheme: dark)");

/** @type {Promise<any>|undefined} */
let library;

/** @returns {Promise<any>} uPlot */
function plotting() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const failed = (/** @type {string} */ why) => {
      library = undefined; // so that it can be tried again
      reject(new Failed(`the file that draws charts ${why}`, ""));
    };
    const takeBack = lendLanguage();
    script.src = new URL("vendor/uPlot.iife.min.js", import.meta.url).href;
    script.onload = () => {
      takeBack();
      const plot = /** @type {any} */ (window).uPlot;
      if (plot) resolve(plot);
      else failed("does not work in this browser");
    };
    script.onerror = () => {
      takeBack();
      failed("did not come");
    };
    document.head.append(script);
  });
  return library;
}

/** uPlot asks, as it is loaded, how the language of the browser writes numbers, and is not there at all where that is no
 * language, as `en-US@posix`. It is then lent one for so long; the numbers that we draw are the same in all languages.
 * @returns {() => void} takes it back */
function lendLanguage() {
  try {
    new Intl.NumberFormat(navigator.language);
    return () => {};
  } catch {
    Object.defineProperty(navigator, "language", { value: "en", configurable: true });
    return () => delete (/** @type {any} */ (navigator).language);
  }
}

/** The charts that wait for more; one stream for all of them says when something has changed. @type {Set<BisChart>} */
const waiting = new Set();
/** @type {EventSource|undefined} */
let stream;

/** @param {BisChart} chart @param {boolean} waits */
function follow(chart, waits) {
  if (waits) waiting.add(chart);
  else waiting.delete(chart);
  if (!waiting.size) {
    stream?.close();
    stream = undefined;
  } else if (!stream) {
    let known = false; // what it says first is what has been drawn just now
    stream = new EventSource(`${(chart.dataset.src ?? "").replace(/\/(runs\/[^/]+\/)?chart$/, "")}/runs/live`);
    stream.addEventListener("changed", () => {
      if (known) for (const one of waiting) one.again(true);
      known = true;
    });
  }
}

/** @param {number} hue @param {number} [alpha] */
const colour = (hue, alpha = 1) => `hsl(${hue} 65% ${dark.matches ? 66 : 38}% / ${alpha})`;

/** @param {string} name @param {Record<string, string>} attributes @param {(Node|string)[]} children */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

class Failed extends Error {
  /** @param {string} what @param {string} hint */
  constructor(what, hint) {
    super(what);
    this.hint = hint;
  }
}

export class BisChart extends HTMLElement {
  connectedCallback() {
    if (!this.body) this.build();
    this.stops = [listen(() => this.changed())];
    const scheme = () => this.draw();
    dark.addEventListener("change", scheme);
    this.stops.push(() => dark.removeEventListener("change", scheme));
    const seen = new IntersectionObserver((entries) => {
      this.visible = entries.some((entry) => entry.isIntersecting);
      if (this.visible && !this.asked) this.load();
    }, { rootMargin: "200px" });
    seen.observe(this);
    const sized = new ResizeObserver(() => this.sized());
    sized.observe(/** @type {HTMLElement} */ (this.body));
    this.asked = false; // where it was taken out and put in again, it asks again
    if (this.told) this.draw();
    this.stops.push(() => seen.disconnect(), () => sized.disconnect(), () => clearTimeout(this.timer));
  }

  disconnectedCallback() {
    for (const stop of this.stops ?? []) stop();
    follow(this, false);
    this.asking?.abort();
    this.plot?.destroy();
    this.plot = undefined;
  }

  /** The parts of it, around what is there already. */
  build() {
    this.metric = this.dataset.metric ?? "";
    /** @type {string[]} */
    this.runs = this.dataset.runs ? JSON.parse(this.dataset.runs) : [];
    /** What is drawn, point for point: for those who want to see that nothing is left out. @type {Drawn[]} */
    this.drawn = [];
    this.mark = "";
    this.waited = SOONEST;
    this.status = make("span", { class: "chart-said" });
    this.reset = make("button", { type: "button", class: "quiet", hidden: "" }, "Reset zoom");
    this.reset.addEventListener("click", () => this.window(null));
    this.table = /** @type {HTMLAnchorElement} */ (make("a", { download: "" }, "CSV: every point"));
    const png = make("button", { type: "button", class: "quiet" }, "PNG");
    const svg = make("button", { type: "button", class: "quiet" }, "SVG");
    png.addEventListener("click", () => this.png());
    svg.addEventListener("click", () => this.save(new Blob([this.svg()], { type: "image/svg+xml" }), "svg"));
    const saving = make("details", { class: "chart-save" }, make("summary", {}, "Save"), make("div", {}, png, svg, this.table));
    const bar = make("div", { class: "chart-tools" }, this.status, this.reset, saving);
    this.body = make("div", {
      class: "chart-body", tabindex: "0", role: "group", "aria-roledescription": "chart",
      "aria-label": `Chart of ${this.metric}. Left and right move, plus and minus zoom, shift with an arrow pans, 0 shows all.`,
    });
    this.legend = make("ul", { class: "chart-legend" });
    this.note = make("p", { class: "chart-note" });
    this.spoken = make("output", { class: "hidden-label" });
    this.body.addEventListener("keydown", (event) => this.key(event));
    const help = make("p", { class: "chart-help", "aria-hidden": "true" }, "← → read values, + − zoom, Shift with ← → pans, 0 shows all");
    this.append(bar, this.body, help, this.legend, this.note, this.spoken);
    this.classList.add("alive");
    this.state("waiting", "");
  }

  /** @param {string} name waiting, loading, drawn, empty or failed @param {string} said @param {Node[]} more */
  state(name, said, ...more) {
    this.dataset.state = name;
    this.toggleAttribute("aria-busy", name === "loading");
    if (name === "drawn") return;
    if (name === "loading" && this.plot) return;
    this.plot?.destroy();
    this.plot = undefined;
    this.body?.replaceChildren(make("div", { class: "chart-state" }, make("p", {}, said), ...more));
  }

  // -- asking -------------------------------------------------------------------------------------------------------

  /** @param {string} form */
  address(form) {
    const { x, logx, windows } = settings();
    const asked = new URLSearchParams({ metric: this.metric ?? "" });
    for (const run of this.runs ?? []) asked.append("run", run);
    const axis = x === `metric:${this.metric}` ? "step" : x;
    if (axis !== "step") asked.set("x", axis);
    const window = windows[this.metric ?? ""];
    if (window) {
      asked.set("first", String(window[0]));
      asked.set("last", String(window[1]));
    }
    if (form === ".json") {
      asked.set("width", String(Math.max(100, Math.round((this.body?.clientWidth ?? 600) - 80))));
      if (logx && axis === "step") asked.set("log", "true");
    }
    return `${this.dataset.src}${form}?${asked}`;
  }

  async load() {
    this.asked = true;
    clearTimeout(this.timer);
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.state("loading", `Loading ${this.metric}…`);
    this.begun = performance.now();
    try {
      const [plot, answer] = await Promise.all([plotting(), this.ask(asking.signal)]);
      if (asking.signal.aborted) return;
      this.library = plot;
      this.take(answer);
    } catch (error) {
      if (asking.signal.aborted) return;
      const again = make("button", { type: "button" }, "Try again");
      again.addEventListener("click", () => this.load());
      const hint = error instanceof Failed && error.hint ? [make("p", { class: "soft" }, error.hint)] : [];
      const what = error instanceof Failed ? error.message : "The server did not answer.";
      this.state("failed", `${this.metric} is not drawn: ${what}`, ...hint, again);
    }
  }

  /** @param {AbortSignal} signal */
  async ask(signal) {
    const answer = await fetch(this.address(".json"), { signal, headers: { accept: "application/json" } });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Failed(told.error?.what ?? `the server answered ${answer.status}`, told.error?.hint ?? "");
    this.mark = answer.headers.get("etag") ?? "";
    return told;
  }

  /** What has come since, where a run is under way: no more than once in a second, and seldom where nothing comes.
   * @param {boolean} now whether somebody said that there is news */
  async again(now) {
    const live = this.told?.series.some((/** @type {any} */ one) => one.live);
    follow(this, live);
    if (!live) return;
    const wait = Math.max(0, SOONEST - (performance.now() - (this.begun ?? 0)));
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      if (!this.visible || document.hidden || this.dataset.state === "loading") return this.again(false);
      this.begun = performance.now();
      const [before, asking] = [this.mark, this.asking];
      try {
        const answer = await this.ask(/** @type {AbortController} */ (asking).signal);
        if (asking !== this.asking) return;
        this.waited = before === this.mark ? Math.min(LATEST, this.waited * 2) : SOONEST;
        if (before !== this.mark) return this.take(answer);
      } catch {
        this.waited = Math.min(LATEST, this.waited * 2);
      }
      if (asking === this.asking) this.again(false);
    }, now ? wait : Math.max(wait, this.waited));
  }

  /** @param {any} answer */
  take(answer) {
    this.told = answer;
    this.looked = JSON.stringify([settings().x, settings().logx, settings().windows[this.metric ?? ""]]);
    this.draw();
    this.again(false);
  }

  get high() {
    return this.closest(".one") ? 360 : 220;
  }

  /** The settings of the page are others. */
  changed() {
    const looked = JSON.stringify([settings().x, settings().logx, settings().windows[this.metric ?? ""]]);
    if (looked === this.looked) this.draw();
    else if (this.visible) this.load();
    else this.asked = false;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** @returns {"difference"|"ratio"|""} */
  get mode() {
    const mode = settings().mode;
    return (mode === "difference" || mode === "ratio") && (this.told?.series.length ?? 0) > 1 ? mode : "";
  }

  draw() {
    if (!this.told || !this.library || !this.body) return;
    const { smooth, logy, logx, x, windows } = settings();
    let series = this.told.series.map(drawn);
    if (this.mode) series = against(series, this.mode);
    const log = logy && series.some((/** @type {Drawn} */ one) => one.buckets.some((bucket) => bucket.high > 0));
    if (log) series = series.map(positive);
    for (const one of series) one.smooth = smooth ? smoothed(one.buckets.map((/** @type {any} */ b) => b.mean), smooth) : [];
    this.known = series;
    if (series.length > 1) series = series.filter((/** @type {Drawn} */ one) => !settings().hidden.includes(one.run));
    this.drawn = series;
    const window = windows[this.metric ?? ""];
    this.reset?.toggleAttribute("hidden", !window);
    if (this.table) this.table.href = this.address(".csv");
    if (this.status) this.status.textContent = [...new Set(series.map((/** @type {Drawn} */ one) => one.said))].join("; ");
    this.legends();
    if (!series.length) {
      this.state("empty", "All runs are hidden. The legend shows them again.");
      return;
    }
    if (!series.some((/** @type {Drawn} */ one) => one.points)) {
      if (this.status) this.status.textContent = "";
      this.state("empty", window ? "There are no points in this window." : "No points have come yet.");
      return;
    }
    const across = logx && !["time", "relative"].includes(x);
    this.extent = window && !this.mode ? window : widths(series);
    if (across) this.extent = [Math.max(this.extent[0], Number.MIN_VALUE), this.extent[1]];
    if (across && !window) this.extent[0] = Math.min(...series.flatMap((/** @type {Drawn} */ one) => one.x.filter((at) => at > 0)));
    if (!Number.isFinite(this.extent[0]) || this.extent[0] >= this.extent[1]) this.extent = [1, 10];
    this.put(series, log, across);
    this.state("drawn", "");
    this.notes(log, across);
  }

  /** @param {Drawn[]} series @param {boolean} log @param {boolean} across */
  put(series, log, across) {
    const floor = heights(series, log)[0];
    const tables = series.flatMap((one) => {
      const middles = one.buckets.map((bucket) => (bucket.first + bucket.last) / 2);
      const lift = (/** @type {number} */ value) => (log && value <= 0 ? floor : value);
      const band = [middles, one.buckets.map((b) => lift(b.low)), one.buckets.map((b) => lift(b.high))];
      const smooth = one.smooth.map((value) => (log && value <= 0 ? null : value));
      return /** @type {(number|null)[][][]} */ ([[one.x, one.y], one.smooth.length ? [...band, smooth] : band]);
    });
    const data = aligned(across ? tables.map(right) : tables);
    const [text, line] = this.colours();
    /** @type {any[]} */
    const lines = [{}];
    /** @type {any[]} */
    const bands = [];
    const several = series.length > 1;
    for (const one of series) {
      const at = lines.length;
      const dash = several && one.dashes ? one.dashes.split(" ").map(Number) : undefined;
      const few = one.x.length <= 40;
      const raw = one.smooth.length ? 0.45 : 1;
      lines.push(
        { label: one.name, stroke: () => colour(one.hue, raw), width: 1.25, dash, points: { show: few, size: 5, fill: () => colour(one.hue) } },
        { stroke: "transparent", width: 0, points: { show: false } },
        { stroke: "transparent", width: 0, points: { show: false } },
      );
      bands.push({ series: [at + 2, at + 1], fill: () => colour(one.hue, 0.22) });
      if (one.smooth.length) lines.push({ stroke: () => colour(one.hue), width: 2.25, dash, points: { show: false } });
    }
    const { x } = settings();
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 5 }, font: "11px system-ui, sans-serif" };
    const worded = (/** @type {boolean} */ even) => (/** @type {any} */ _u, /** @type {number[]} */ ticks, /** @type {number} */ _axis, /** @type {number} */ _space, /** @type {number} */ apart) => tickTexts(ticks, even ? apart : 0);
    const options = {
      width: Math.max(200, this.body?.clientWidth ?? 600), height: this.high, ms: 1, tzDate: (/** @type {number} */ at) => this.library.tzDate(new Date(at), "Etc/UTC"), series: lines, bands,
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
      scales: {
        x: { time: x === "time", distr: across ? 3 : 1, range: () => this.extent },
        y: { distr: log ? 3 : 1, range: () => heights(series, log) },
      },
      axes: [
        { ...axis, values: x === "time" ? TIMES : worded(!across), label: this.told.label, labelSize: 16, labelFont: "11px system-ui, sans-serif", labelGap: 0, size: 32 },
        { ...axis, values: worded(!log), size: (/** @type {any} */ _u, /** @type {string[]|null} */ values) => 16 + 6.6 * Math.max(3, ...(values ?? []).map((one) => (one ?? "").length)) },
      ],
      hooks: {
        draw: [(/** @type {any} */ u) => this.marks(u)],
        setCursor: [(/** @type {any} */ u) => this.point(u)],
        setSelect: [(/** @type {any} */ u) => {
          if (u.select.width < 3) return;
          const [first, last] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          this.window([first, last]);
        }],
      },
    };
    this.plot?.destroy();
    this.body?.replaceChildren();
    this.plot = new this.library(options, data, this.body);
    this.plot.over.addEventListener("dblclick", () => this.window(null));
  }

  colours() {
    const style = getComputedStyle(this);
    return [style.color, style.borderTopColor];
  }

  /** NaN and the infinities, at the edge where they would be. @param {any} u */
  marks(u) {
    const context = u.ctx;
    const ratio = u.pxRatio ?? devicePixelRatio;
    context.save();
    for (const [x, y, kind, hue] of this.oddities(u, true)) {
      const size = 4 * ratio;
      context.strokeStyle = context.fillStyle = colour(hue);
      context.lineWidth = 1.5 * ratio;
      context.beginPath();
      if (kind === "NaN") {
        context.moveTo(x - size, y - 2 * size), context.lineTo(x + size, y);
        context.moveTo(x - size, y), context.lineTo(x + size, y - 2 * size);
        context.stroke();
      } else {
        const foot = kind === "Infinity" ? y + 2 * size : y - 2 * size;
        context.moveTo(x, y), context.lineTo(x - size, foot), context.lineTo(x + size, foot);
        context.fill();
      }
    }
    context.restore();
  }

  /** @param {any} u @param {boolean} canvas @returns {[number, number, string, number][]} */
  oddities(u, canvas) {
    const [low, high] = this.extent ?? [0, 1];
    const top = canvas ? u.bbox.top : 0;
    const height = canvas ? u.bbox.height : u.over.clientHeight;
    return this.drawn?.flatMap((one) => one.odd.flatMap((odd) => odd.at
      .filter((at) => at >= low && at <= high)
      .map((at) => /** @type {[number, number, string, number]} */ ([u.valToPos(at, "x", canvas), odd.kind === "Infinity" ? top : top + height, odd.kind, one.hue])))) ?? [];
  }

  /** A line for each run: how it is drawn, and the value under the pointer. Pressed, a name leaves its run out. */
  legends() {
    /** @type {Drawn[]} */
    const known = this.known ?? [];
    const several = known.length > 1 || Boolean(this.mode);
    /** @type {Map<string, HTMLElement>} */
    this.values = new Map();
    this.legend?.replaceChildren(...known.map((one) => {
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      for (const [key, value] of Object.entries({ width: "26", height: "10", "aria-hidden": "true" })) swatch.setAttribute(key, value);
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const looks = { d: "M0 5H26", stroke: colour(one.hue), "stroke-width": "2.5", "stroke-dasharray": several ? one.dashes : "" };
      for (const [key, value] of Object.entries(looks)) line.setAttribute(key, value);
      swatch.append(line);
      const value = make("span", { class: "chart-value" });
      this.values?.set(one.run, value);
      const odd = one.odd.map((each) => make("span", { class: "chart-odd" }, `${each.points.toLocaleString("en")} × ${MARKS[each.kind]}`));
      const parts = [.../** @type {any[]} */ (several ? [this.name(one, known.length > 1)] : []), ...odd, value];
      return make("li", {}, /** @type {any} */ (swatch), ...parts);
    }));
    this.rest();
  }

  /** @param {Drawn} one @param {boolean} pressable */
  name(one, pressable) {
    if (!pressable) return make("span", { class: "chart-run", title: one.name }, one.name);
    const shown = !settings().hidden.includes(one.run);
    const name = make("button", { type: "button", class: "quiet chart-run", title: one.name, "aria-pressed": String(shown) }, one.name);
    name.addEventListener("click", () => {
      const place = [...(this.legend?.querySelectorAll("button") ?? [])].indexOf(/** @type {HTMLButtonElement} */ (name));
      toggle(one.run);
      this.legend?.querySelectorAll("button")[place]?.focus();
    });
    return name;
  }

  /** @param {boolean} log @param {boolean} across */
  notes(log, across) {
    const below = this.drawn?.reduce((sum, one) => sum + one.below, 0) ?? 0;
    const hidden = this.drawn?.reduce((sum, one) => sum + one.hidden, 0) ?? 0;
    const said = [];
    if (settings().logy && !log) said.push("No value is above zero: the scale stays linear.");
    if (log && below) said.push(`${below.toLocaleString("en")} ${below === 1 ? "place has" : "places have"} values at or below zero, which a logarithmic scale cannot show.`);
    if (across && hidden) said.push(`${hidden.toLocaleString("en")} ${hidden === 1 ? "point" : "points"} at or before 0 cannot be shown on a logarithmic axis.`);
    if (settings().smooth) said.push(`The strong line is smoothed (${settings().smooth}) over what is drawn; the pale one is not.`);
    if (this.note) this.note.textContent = said.join(" ");
  }

  // -- looking closer -------------------------------------------------------------------------------------------------

  /** @param {[number, number]|null} window */
  window(window) {
    zoom(this.metric ?? "", window);
  }

  /** @param {any} u */
  point(u) {
    if (u.cursor.left === undefined || u.cursor.left < 0) return this.rest();
    const x = u.posToVal(u.cursor.left, "x");
    const said = (this.drawn ?? []).map((one) => told(nearest(one.buckets, x), settings().x));
    this.drawn?.forEach((one, place) => this.tell(one, said[place]));
    this.said = (this.drawn ?? []).map((one, place) => `${one.name}: ${said[place]}`).join("; ");
  }

  /** Nobody points. */
  rest() {
    for (const one of this.known ?? []) {
      const hidden = !this.drawn?.includes(one);
      this.tell(one, hidden ? "hidden" : one.buckets.length ? `${one.points.toLocaleString("en")} ${one.points === 1 ? "point" : "points"}` : "no numbers");
    }
  }

  /** @param {Drawn} one @param {string} said */
  tell(one, said) {
    const value = this.values?.get(one.run);
    if (value) value.textContent = said;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const u = this.plot;
    if (!u || event.ctrlKey || event.metaKey || event.altKey || !this.extent) return;
    const wide = u.over.clientWidth;
    const left = u.cursor.left >= 0 ? u.cursor.left : wide / 2;
    const move = { ArrowLeft: -wide / 60, ArrowRight: wide / 60, Home: -wide, End: wide }[event.key];
    if (event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) this.shift(u, event.key === "ArrowLeft" ? -0.25 : 0.25);
    else if (move !== undefined) {
      u.setCursor({ left: Math.min(wide - 1, Math.max(0, left + move)), top: 10 });
      if (this.spoken) this.spoken.textContent = this.said ?? "";
    } else if (event.key === "+" || event.key === "=") this.scale(u, left, 0.5);
    else if (event.key === "-" || event.key === "_") this.scale(u, left, 2);
    else if (event.key === "0" || event.key === "Escape") this.window(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {any} u @param {number} share */
  shift(u, share) {
    const wide = u.over.clientWidth;
    this.window([u.posToVal(wide * share, "x"), u.posToVal(wide * (1 + share), "x")]);
  }

  /** @param {any} u @param {number} left @param {number} factor */
  scale(u, left, factor) {
    const wide = u.over.clientWidth;
    if (factor > 1 && !settings().windows[this.metric ?? ""]) return;
    const [first, last] = [left - left * factor, left + (wide - left) * factor].map((at) => u.posToVal(at, "x"));
    const full = this.told.series.every((/** @type {any} */ one) => one.points === one.summary?.points);
    this.window(factor > 1 && full ? null : [first, last]);
  }

  sized() {
    const wide = this.body?.clientWidth ?? 0;
    if (!this.plot || wide < 50 || Math.abs(wide - this.plot.width) < 2) return;
    const grown = wide > this.plot.width * 1.25;
    this.plot.setSize({ width: wide, height: this.high });
    if (grown && this.told.series.some((/** @type {any} */ one) => !one.exact)) this.load();
  }

  // -- saving -------------------------------------------------------------------------------------------------------

  /** @param {Blob|null} blob @param {string} extension */
  save(blob, extension) {
    if (!blob) return;
    const name = (this.metric ?? "chart").replace(/[^A-Za-z0-9._-]+/g, "-") || "chart";
    const link = /** @type {HTMLAnchorElement} */ (make("a", { href: URL.createObjectURL(blob), download: `${name}.${extension}` }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  /** The canvas, its title above it and its legend below. */
  png() {
    const from = this.plot?.ctx.canvas;
    if (!from) return;
    const ratio = devicePixelRatio;
    const rows = this.drawn ?? [];
    const to = document.createElement("canvas");
    [to.width, to.height] = [from.width, from.height + (26 + 18 * rows.length + 6) * ratio];
    const context = /** @type {CanvasRenderingContext2D} */ (to.getContext("2d"));
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, to.width, to.height);
    context.drawImage(from, 0, 26 * ratio);
    context.scale(ratio, ratio);
    context.fillStyle = getComputedStyle(document.body).color;
    context.font = "600 13px system-ui, sans-serif";
    context.fillText(this.metric ?? "", 8, 18);
    context.font = "11px system-ui, sans-serif";
    rows.forEach((one, place) => {
      const y = from.height / ratio + 26 + 18 * place + 8;
      context.strokeStyle = colour(one.hue);
      context.lineWidth = 2;
      context.setLineDash(rows.length > 1 && one.dashes ? one.dashes.split(" ").map(Number) : []);
      context.beginPath();
      context.moveTo(8, y), context.lineTo(34, y);
      context.stroke();
      context.fillText(`${one.name}: ${one.said}`, 42, y + 4);
    });
    to.toBlob((blob) => this.save(blob, "png"));
  }

  /** The drawn series, as text. */
  svg() {
    const u = this.plot;
    if (!u) return "";
    const [wide, high, left, top] = [u.over.clientWidth, u.over.clientHeight, 72, 34];
    const [text, line] = this.colours();
    const at = (/** @type {number} */ x, /** @type {number} */ y) => `${(left + u.valToPos(x, "x")).toFixed(1)} ${(top + u.valToPos(y, "y")).toFixed(1)}`;
    const inside = (/** @type {number} */ x) => !this.extent || (x >= this.extent[0] && x <= this.extent[1]);
    const parts = [`<text x="${left}" y="20" font-size="13" font-weight="600" fill="${text}">${escaped(this.metric ?? "")}</text>`];
    for (const [place, value] of (u.axes[1]._splits ?? []).entries()) {
      const said = u.axes[1]._values?.[place];
      if (said === null || said === undefined || said === "") continue;
      const y = (top + u.valToPos(value, "y")).toFixed(1);
      parts.push(`<path d="M${left} ${y}h${wide}" stroke="${line}"/><text x="${left - 6}" y="${y}" dy="4" text-anchor="end" fill="${text}">${escaped(String(said))}</text>`);
    }
    for (const [place, value] of (u.axes[0]._splits ?? []).entries()) {
      const said = String(u.axes[0]._values?.[place] ?? "").split("\n")[0];
      if (said && inside(value)) parts.push(`<text x="${(left + u.valToPos(value, "x")).toFixed(1)}" y="${top + high + 15}" text-anchor="middle" fill="${text}">${escaped(said)}</text>`);
    }
    parts.push(`<text x="${left + wide}" y="${top + high + 29}" text-anchor="end" fill="${text}">${escaped(this.told.label)}</text>`);
    const series = this.drawn ?? [];
    series.forEach((one, place) => {
      const paint = colour(one.hue);
      const dash = series.length > 1 && one.dashes ? ` stroke-dasharray="${one.dashes}"` : "";
      const log = u.scales.y.distr === 3;
      const shown = one.buckets.filter((bucket) => !log || bucket.low > 0);
      const middle = (/** @type {any} */ bucket) => (bucket.first + bucket.last) / 2;
      if (!one.exact && shown.length > 1) {
        const edge = [...shown.map((b) => at(middle(b), b.high)), ...shown.toReversed().map((b) => at(middle(b), b.low))];
        parts.push(`<path class="band" d="M${edge.join("L")}Z" fill="${paint}" fill-opacity="0.25"/>`);
      }
      let path = "";
      let pen = "M";
      one.x.forEach((x, point) => {
        const y = one.y[point];
        if (y === null || !inside(x)) return void (pen = "M");
        path += `${pen}${at(x, y)}`;
        pen = "L";
      });
      parts.push(`<path class="line" d="${path}" fill="none" stroke="${paint}" stroke-opacity="${one.smooth.length ? 0.45 : 1}" stroke-width="1.25"${dash}/>`);
      if (one.x.length <= 40)
        one.x.forEach((x, point) => {
          const y = one.y[point];
          if (y === null || !inside(x)) return;
          const [cx, cy] = at(x, y).split(" ");
          parts.push(`<circle cx="${cx}" cy="${cy}" r="2.5" fill="${paint}"/>`);
        });
      if (one.smooth.length) {
        const points = one.smooth.flatMap((y, point) => (log && y <= 0 ? [] : [at(middle(one.buckets[point]), y)]));
        parts.push(`<path class="smooth" d="M${points.join("L")}" fill="none" stroke="${paint}" stroke-width="2.25"${dash}/>`);
      }
      const y = top + high + 38 + 16 * place;
      parts.push(`<path d="M${left} ${y}h26" stroke="${paint}" stroke-width="2.5"${dash}/><text x="${left + 34}" y="${y + 4}" fill="${text}">${escaped(`${one.name}: ${one.said}`)}</text>`);
    });
    for (const [x, y, kind, hue] of this.oddities(u, false)) {
      const [px, py] = [left + x, top + y];
      if (kind === "NaN") parts.push(`<path class="nan" d="M${px - 4} ${py - 8}l8 8m0 -8l-8 8" stroke="${colour(hue)}" stroke-width="1.5"/>`);
      else parts.push(`<path class="infinite" d="M${px} ${py}l-4 ${kind === "Infinity" ? 8 : -8}h8Z" fill="${colour(hue)}"/>`);
    }
    const [width, height] = [left + wide + 16, top + high + 34 + 16 * series.length + 10];
    const ground = getComputedStyle(document.body).backgroundColor;
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="11"><rect width="${width}" height="${height}" fill="${ground}"/>${parts.join("")}</svg>`;
  }
}

/** On a logarithmic axis only what is to the right of zero has a place. @param {(number|null)[][]} table */
function right(table) {
  const keep = table[0].map((x) => x !== null && x > 0);
  return table.map((column) => column.filter((_, place) => keep[place]));
}

/** A field that leaves those charts that have its words in their names, and the groups in which there are any.
 * @param {HTMLInputElement} field */
function searching(field) {
  const scope = field.closest("[data-charts]") ?? document;
  field.hidden = false;
  field.closest("label")?.removeAttribute("hidden");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const chart of scope.querySelectorAll("[data-metric]")) {
      const name = (/** @type {HTMLElement} */ (chart).dataset.metric ?? "").toLowerCase();
      chart.toggleAttribute("hidden", !words.every((word) => name.includes(word)));
    }
    let shown = 0;
    for (const group of scope.querySelectorAll("[data-chart-group]")) {
      const left = group.querySelectorAll("[data-metric]:not([hidden])").length;
      group.toggleAttribute("hidden", !left);
      shown += left;
    }
    for (const count of scope.querySelectorAll("[data-chart-count]")) count.textContent = words.length ? `${shown} shown` : "";
  });
}

/** What stands around charts in a part of the page. @param {ParentNode} part */
export function wire(part) {
  for (const form of part.querySelectorAll("form[data-chart-settings]:not([data-bound])")) {
    form.setAttribute("data-bound", "");
    bind(/** @type {HTMLFormElement} */ (form));
  }
  for (const field of part.querySelectorAll("input[data-chart-search]:not([data-bound])")) {
    field.setAttribute("data-bound", "");
    searching(/** @type {HTMLInputElement} */ (field));
  }
}

if (!customElements.get("bis-chart")) customElements.define("bis-chart", BisChart);
wire(document);
document.addEventListener("htmx:after:swap", () => wire(document));
