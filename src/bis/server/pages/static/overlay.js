// @ts-check
// <bis-overlay data-src="/overlay" data-chart="/chart" data-runs='["A", "B"]'>: metrics of several runs over one another,
// and the runs by what they were given and what they came to. What is seldom looked at is loaded when it is opened.

import { wire } from "./chart.js";

/** @typedef {{id: string, name: string, status: string, hue: number, dashes: string, params: Record<string, string>,
 *   metrics: Record<string, number|string>}} Run */

const FIRST = 6;
const MOST = 100; // lines in one chart, as the server draws them

class BisOverlay extends HTMLElement {
  async connectedCallback() {
    if (this.asked) return;
    this.asked = true;
    wire(this);
    const runs = JSON.parse(this.dataset.runs ?? "[]");
    const status = document.createElement("p");
    status.className = "soft";
    status.setAttribute("role", "status");
    status.textContent = "Loading the runs…";
    this.append(status);
    try {
      const asked = new URLSearchParams(runs.map((/** @type {string} */ run) => ["run", run]));
      const answer = await fetch(`${this.dataset.src}.json?${asked}`, { headers: { accept: "application/json" } });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error?.what ?? `the server answered ${answer.status}`);
      status.remove();
      this.show(told.runs, told.metrics, told.curves);
    } catch (error) {
      status.className = "bad";
      status.textContent = `The curves are not drawn: ${/** @type {Error} */ (error).message}. `;
      const again = document.createElement("button");
      again.textContent = "Try again";
      again.addEventListener("click", () => {
        status.remove();
        this.asked = false;
        this.connectedCallback();
      });
      status.append(again);
    }
  }

  /** @param {Run[]} runs @param {string[]} metrics @param {string[]} curves */
  show(runs, metrics, curves) {
    if (!metrics.length) {
      const none = document.createElement("p");
      none.className = "empty";
      none.textContent = "None of these runs logged a metric.";
      this.append(none);
      return;
    }
    if (curves.length) this.curves(curves, runs);
    else {
      this.querySelector("form")?.remove();
      const none = document.createElement("p");
      none.className = "soft";
      none.textContent = "Each metric has one value in each run: there is no curve to draw.";
      this.append(none);
    }
    if (runs.length < 2) return;
    for (const [title, draw] of /** @type {[string, (place: HTMLElement) => Promise<void>][]} */ ([
      ["Parallel coordinates", async (place) => (await import("./parallel.js")).parallel(place, runs, metrics, this.dataset.run ?? "")],
      ["Scatter and contour", async (place) => (await import("./figures.js")).figures(place, runs, metrics)],
    ])) this.append(opened(title, draw));
  }

  /** Some at first, all when they are asked for. @param {string[]} metrics @param {Run[]} runs */
  curves(metrics, runs) {
    const charts = document.createElement("div");
    charts.className = "charts";
    const more = document.createElement("button");
    more.type = "button";
    let shown = FIRST;
    const fill = () => {
      for (const metric of metrics.slice(charts.childElementCount, shown)) charts.append(this.chart(metric, runs));
      more.textContent = `Draw ${metrics.length - shown} more metrics`;
      more.hidden = shown >= metrics.length;
    };
    more.addEventListener("click", () => {
      shown = metrics.length;
      fill();
    });
    fill();
    this.append(charts, more);
  }

  /** @param {string} metric @param {Run[]} runs */
  chart(metric, runs) {
    const chart = document.createElement("bis-chart");
    const having = runs.filter((run) => metric in run.metrics).map((run) => run.id);
    const own = having.slice(0, MOST);
    chart.dataset.src = this.dataset.chart;
    chart.dataset.metric = metric;
    chart.dataset.runs = JSON.stringify(own);
    const title = document.createElement("h3");
    const link = document.createElement("a");
    link.href = `${this.dataset.chart}?${new URLSearchParams([["metric", metric], ...own.map((run) => ["run", run])])}`;
    link.textContent = metric.replace(/[\p{C}]/gu, "\ufffd");
    title.append(link);
    chart.append(title);
    if (own.length < runs.length) {
      const missing = document.createElement("p");
      missing.className = "chart-facts";
      missing.textContent =
        own.length < having.length
          ? `the first ${own.length} of ${having.length} runs that have it are drawn; fewer runs at once show the others`
          : `${own.length} of ${runs.length} runs have it`;
      chart.append(missing);
    }
    return chart;
  }
}

/** @param {string} title @param {(place: HTMLElement) => Promise<void>} draw */
function opened(title, draw) {
  const [details, summary, place] = ["details", "summary", "div"].map((name) => document.createElement(name));
  details.className = "more";
  summary.textContent = title;
  details.append(summary, place);
  details.addEventListener("toggle", async () => {
    if (!(/** @type {HTMLDetailsElement} */ (details).open) || place.childElementCount) return;
    try {
      await draw(place);
    } catch (error) {
      place.textContent = `It is not drawn: ${/** @type {Error} */ (error).message}`;
    }
  });
  return details;
}

if (!customElements.get("bis-overlay")) customElements.define("bis-overlay", BisOverlay);
