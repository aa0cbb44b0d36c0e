// @ts-check
// What a chart draws of the answers of the server: plain values in, plain values out, nothing of the page.

/**
 * @typedef {{kind: "NaN"|"Infinity"|"-Infinity", points: number, at: number[]}} Odd
 * @typedef {{run: string, name: string, live: boolean, hue: number, dashes: string, points: number, exact: boolean,
 *   said: string, base: number, at: number[], value: number[], first: number[], last: number[], low: number[],
 *   low_at: number[], high: number[], high_at: number[], mean: number[], count: number[], odd: Odd[], hidden: number}} Series
 * @typedef {{first: number, last: number, low: number, high: number, mean: number, count: number}} Bucket
 * @typedef {{run: string, name: string, hue: number, dashes: string, said: string, exact: boolean, points: number,
 *   x: number[], y: (number|null)[], buckets: Bucket[], smooth: number[], odd: Odd[], below: number, hidden: number}} Drawn
 */

/** Each point that is drawn is one that was logged: of an envelope, the least and the greatest of each bucket.
 * @param {Series} series @returns {Drawn} */
export function drawn(series) {
  const found = {
    run: series.run, name: series.name, hue: series.hue, dashes: series.dashes, said: series.said,
    exact: series.exact, points: series.points, odd: placed(series), below: 0, hidden: series.hidden,
    buckets: buckets(series), smooth: [],
  };
  const points = series.exact ? exactly(series, found.odd) : extremes(series);
  return { ...found, x: points.map((point) => point[0]), y: points.map((point) => point[1]) };
}

/** @param {Series} series @returns {Odd[]} */
function placed(series) {
  return series.odd.map((one) => ({ ...one, at: one.at.map((at) => at + series.base) }));
}

/** A line ends before what is no number, and begins again behind it.
 * @param {Series} series @param {Odd[]} odd @returns {[number, number|null][]} */
function exactly(series, odd) {
  /** @type {[number, number|null][]} */
  const points = series.at.map((at, place) => [at + series.base, series.value[place]]);
  const taken = new Set(points.map((point) => point[0]));
  for (const one of odd) for (const at of one.at) if (!taken.has(at)) points.push([at, null]);
  return points.sort((one, other) => one[0] - other[0]);
}

/** @param {Series} series @returns {[number, number|null][]} */
function extremes(series) {
  /** @type {[number, number|null][]} */
  const points = [];
  series.low.forEach((low, place) => {
    points.push([series.low_at[place] + series.base, low]);
    if (series.count[place] > 1) points.push([series.high_at[place] + series.base, series.high[place]]);
  });
  return points.sort((one, other) => one[0] - other[0]);
}

/** @param {Series} series @returns {Bucket[]} */
function buckets(series) {
  if (series.exact)
    return series.at.map((at, place) => {
      const value = series.value[place];
      return { first: at + series.base, last: at + series.base, low: value, high: value, mean: value, count: 1 };
    });
  return series.first.map((first, place) => ({
    first: first + series.base, last: series.last[place] + series.base, low: series.low[place],
    high: series.high[place], mean: series.mean[place], count: series.count[place],
  }));
}

/** The exponential moving average over what is drawn, as TensorBoard has it: the beginning is not drawn to zero.
 * @param {number[]} values @param {number} weight @returns {number[]} */
export function smoothed(values, weight) {
  let last = 0;
  return values.map((value, place) => {
    last = last * weight + (1 - weight) * value;
    return last / (1 - weight ** (place + 1));
  });
}

/** Each series without the first, less the first one or divided by it. Exact where both are, at the places that both
 * have; else the band holds every difference that there may be between the points in it.
 * @param {Drawn[]} series @param {"difference"|"ratio"} mode @returns {Drawn[]} */
export function against(series, mode) {
  const [base, ...others] = series;
  return others.map((other) => (base.exact && other.exact ? pointwise(base, other, mode) : bounded(base, other, mode)));
}

/** @param {Drawn} base @param {Drawn} other @param {"difference"|"ratio"} mode @returns {Drawn} */
function pointwise(base, other, mode) {
  const known = new Map(base.buckets.map((one) => [one.first, one.mean]));
  let zeros = 0;
  const found = other.buckets.flatMap((one) => {
    const value = apply(one.mean, known.get(one.first), mode);
    if (value === null && known.get(one.first) === 0) zeros += 1;
    return value === null ? [] : [{ ...one, low: value, high: value, mean: value }];
  });
  return {
    ...other, name: `${other.name} ${mode === "ratio" ? "÷" : "−"} ${base.name}`,
    said: `exact at ${counted(found.length, "common place")}${leftOut(zeros)}`, odd: eitherOdd(base, other), points: found.length,
    buckets: found, x: found.map((one) => one.first), y: found.map((one) => one.mean),
  };
}

/** @param {Drawn} base @param {Drawn} other @param {"difference"|"ratio"} mode @returns {Drawn} */
function bounded(base, other, mode) {
  let place = 0;
  let zeros = 0;
  /** @type {Bucket[]} */
  const found = [];
  for (const one of other.buckets) {
    while (place < base.buckets.length && base.buckets[place].last < one.first) place += 1;
    let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
    for (let at = place; at < base.buckets.length && base.buckets[at].first <= one.last; at += 1) {
      const near = base.buckets[at];
      [low, high] = [Math.min(low, near.low), Math.max(high, near.high)];
      [sum, count] = [sum + near.mean * near.count, count + near.count];
    }
    if (!count) continue;
    if (mode === "ratio" && low <= 0 && high >= 0) {
      zeros += 1;
      continue;
    }
    const ends = [one.low, one.high].flatMap((value) => [apply(value, low, mode), apply(value, high, mode)]);
    const known = /** @type {number[]} */ (ends.filter((end) => end !== null));
    const mean = apply(one.mean, sum / count, mode);
    if (mean === null || !known.length) continue;
    found.push({ ...one, low: Math.min(...known, mean), high: Math.max(...known, mean), mean });
  }
  return {
    ...other, name: `${other.name} ${mode === "ratio" ? "÷" : "−"} ${base.name}`, exact: false, odd: eitherOdd(base, other),
    said: `${mode} of means; every ${mode} lies in the band${leftOut(zeros)}`, buckets: found,
    x: found.map((one) => (one.first + one.last) / 2), y: found.map((one) => one.mean),
  };
}

/** @param {number} count @param {string} word */
const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** @param {number} zeros */
const leftOut = (zeros) => (zeros ? `; ${counted(zeros, "place")} left out, where the first may be zero` : "");

/** Where one of the two is no number, neither is what is between them.
 * @param {Drawn} base @param {Drawn} other @returns {Odd[]} */
function eitherOdd(base, other) {
  const odd = [...base.odd, ...other.odd];
  const at = [...new Set(odd.flatMap((one) => one.at))].sort((one, another) => one - another);
  return at.length ? [{ kind: "NaN", points: at.length, at }] : [];
}

/** @param {number} value @param {number|undefined} by @param {"difference"|"ratio"} mode @returns {number|null} */
function apply(value, by, mode) {
  if (by === undefined || (mode === "ratio" && by === 0)) return null;
  const found = mode === "ratio" ? value / by : value - by;
  return Number.isFinite(found) ? found : null;
}

/** Tables of [x, y, y, …] over one common x. Several points at one place stay several: uPlot's own join has one only.
 * `undefined` is where a table has no point, `null` where its line has a gap.
 * @param {(number|null)[][][]} tables @returns {(number|null|undefined)[][]} */
export function aligned(tables) {
  /** @type {Map<number, number>} */
  const most = new Map();
  for (const [xs] of tables) {
    let times = 0;
    xs.forEach((x, place) => {
      times = place && xs[place - 1] === x ? times + 1 : 1;
      if (times > (most.get(/** @type {number} */ (x)) ?? 0)) most.set(/** @type {number} */ (x), times);
    });
  }
  /** @type {number[]} */
  const all = [];
  for (const x of [...most.keys()].sort((one, other) => one - other))
    for (let time = 0; time < /** @type {number} */ (most.get(x)); time += 1) all.push(x);
  const columns = tables.map(([xs, ...ys]) => {
    let next = 0;
    const places = all.map((x) => (next < xs.length && xs[next] === x ? next++ : -1));
    return ys.map((y) => places.map((place) => (place < 0 ? undefined : y[place])));
  });
  return [all, ...columns.flat()];
}

/** The bucket at a place, or the nearest to it.
 * @param {Bucket[]} buckets @param {number} x @returns {Bucket|undefined} */
export function nearest(buckets, x) {
  let [low, high] = [0, buckets.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (buckets[middle].last < x) low = middle + 1;
    else high = middle;
  }
  const [before, behind] = [buckets[low - 1], buckets[low]];
  if (!before || !behind) return behind ?? before;
  return x - before.last < behind.first - x ? before : behind;
}

/** A number as it was logged.
 * @param {number} value @returns {string} */
export const exactText = (value) => String(value);

/** Words of the ticks of an axis: as many digits as tell neighbours apart, and no more.
 * @param {(number|null)[]} ticks @param {number} apart between two of them; 0 on a logarithmic axis @returns {string[]} */
export function tickTexts(ticks, apart) {
  const most = Math.max(0, ...ticks.map((tick) => Math.abs(tick ?? 0)));
  const digits = apart > 0 ? Math.max(0, -Math.floor(Math.log10(apart) + 1e-9)) : 0;
  const plain = most < 1e7 && digits <= 6;
  return ticks.map((tick) => {
    if (tick === null || tick === undefined) return "";
    if (!(apart > 0)) return Math.abs(tick) >= 1e6 || Math.abs(tick) < 1e-3 ? tick.toExponential().replace("e+", "e") : String(Number(tick.toPrecision(6)));
    if (plain) return Number(tick.toFixed(digits + 1)).toLocaleString("en", { maximumFractionDigits: digits + 1 });
    return Number(tick.toPrecision(Math.min(15, Math.ceil(Math.log10(most / apart)) + 2))).toString();
  });
}

/** A place on the axis, in words.
 * @param {number} at @param {string} x @returns {string} */
export function placeText(at, x) {
  if (x === "time") return `${new Date(at).toISOString().replace("T", " ").slice(0, 19)}Z`;
  if (x === "relative") return `${Number(at.toPrecision(10)).toLocaleString("en", { maximumFractionDigits: 3 })} s`;
  if (x === "step") return `step ${Math.round(at).toLocaleString("en")}`;
  return `${x.replace(/^metric:/, "")} ${Number(at.toPrecision(12))}`;
}

/** @param {Bucket|undefined} one @param {string} x @returns {string} */
export function told(one, x) {
  if (!one) return "";
  const where = one.first === one.last ? placeText(one.first, x) : `${placeText(one.first, x)} to ${placeText(one.last, x)}`;
  if (one.count === 1) return `${exactText(one.mean)} at ${where}`;
  return `${exactText(one.low)} to ${exactText(one.high)} in ${one.count.toLocaleString("en")} points, ${where}`;
}

/** The ends of what is drawn, and room around it.
 * @param {Drawn[]} series @param {boolean} log @returns {[number, number]} */
export function heights(series, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const one of series)
    for (const bucket of one.buckets) {
      if (!log || bucket.low > 0) low = Math.min(low, bucket.low);
      else if (bucket.high > 0) low = Math.min(low, bucket.high);
      if (!log || bucket.high > 0) high = Math.max(high, bucket.high);
    }
  if (low > high) return log ? [1, 10] : [0, 1];
  if (log) return high > low ? [low / 1.15, high * 1.15] : [low / 2, high * 2];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  if (!Number.isFinite(high - low)) return [low, high];
  return [Math.max(low - room, -Number.MAX_VALUE), Math.min(high + room, Number.MAX_VALUE)];
}

/** @param {Drawn[]} series @returns {[number, number]} */
export function widths(series) {
  let [low, high] = [Infinity, -Infinity];
  for (const one of series) {
    for (const bucket of one.buckets) [low, high] = [Math.min(low, bucket.first), Math.max(high, bucket.last)];
    for (const odd of one.odd) for (const at of odd.at) [low, high] = [Math.min(low, at), Math.max(high, at)];
  }
  if (low > high) return [0, 1];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/** Without what has no logarithm; how many buckets hold such points is counted.
 * @param {Drawn} one @returns {Drawn} */
export function positive(one) {
  return {
    ...one, below: one.buckets.filter((bucket) => bucket.low <= 0).length,
    y: one.y.map((value) => (value !== null && value > 0 ? value : null)),
  };
}

/** @param {string} text */
export const escaped = (text) =>
  text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`).replace(/[^\P{C}\n]/gu, "\ufffd");
