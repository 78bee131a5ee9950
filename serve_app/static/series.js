// The points of one job, in order of attempt and step, and what the chart needs of them.

/** More points than this are thinned: a screen has no room for them and a phone no memory. */
export const MOST_POINTS = 20_000;
/** The newest share is never thinned. */
const KEPT_WHOLE = 0.25;

export class Series {
  #points = [];
  #extremes = new Map();
  thinned = false;
  /** Whether the history had more points than were fetched. */
  incomplete = false;
  /** Up to this time, in ms, the history was fetched. */
  completeUntil = -Infinity;

  get size() {
    return this.#points.length;
  }

  get names() {
    return [...this.#extremes.keys()].sort();
  }

  get newestAt() {
    return this.#points.reduce((newest, point) => Math.max(newest, point.at), -Infinity);
  }

  /** Takes messages of the socket and items of the history alike; those it has already are left out. */
  add(messages) {
    const points = messages.filter((message) => message.step !== null).map(pointOf);
    const inOrder = points.length === 1 && (this.size === 0 || compare(this.#points.at(-1), points[0]) < 0);
    this.#points.push(...points);
    if (!inOrder) this.#points = withoutDoubles(this.#points.sort(compare));
    points.forEach((point) => this.#note(point));
    if (this.size > MOST_POINTS) this.#thin();
  }

  lowest(name) {
    return this.#extremes.get(name)?.lowest;
  }

  highest(name) {
    return this.#extremes.get(name)?.highest;
  }

  latest(name) {
    return this.#points.findLast((point) => Object.hasOwn(point.metrics, name))?.metrics[name];
  }

  /** `{step, value, attempt, at}` of one metric, in order. */
  curve(name) {
    const curve = [];
    for (const { step, attempt, at, metrics } of this.#points) {
      if (Object.hasOwn(metrics, name)) curve.push({ step, attempt, at, value: metrics[name] });
    }
    return curve;
  }

  #note(point) {
    for (const [name, value] of Object.entries(point.metrics)) {
      const known = this.#extremes.get(name);
      if (known === undefined) {
        this.#extremes.set(name, { lowest: value, highest: value });
      } else {
        known.lowest = Math.min(known.lowest, value);
        known.highest = Math.max(known.highest, value);
      }
    }
  }

  /** Drop every other one of the older points. */
  #thin() {
    const whole = this.size - Math.floor(this.size * KEPT_WHOLE);
    this.#points = this.#points.filter((_, index) => index >= whole || index % 2 === 0);
    this.thinned = true;
  }
}

/** Cut a curve where a new attempt begins. */
export function byAttempt(curve) {
  const segments = [];
  for (const point of curve) {
    if (segments.at(-1)?.[0].attempt === point.attempt) segments.at(-1).push(point);
    else segments.push([point]);
  }
  return segments;
}

/**
 * As many points as a screen can show: of each pixel column the first, lowest, highest and last.
 * The line drawn through them covers the same pixels as the line through all (Jugel et al., "M4", 2014).
 */
export function decimate(points, columnOf) {
  const kept = [];
  let start = 0;
  for (let end = 1; end <= points.length; end += 1) {
    if (end < points.length && columnOf(points[end]) === columnOf(points[start])) continue;
    keepColumn(points, start, end, kept);
    start = end;
  }
  return kept;
}

/** The mean step and value of each bucket of neighbours. */
export function means(points, bucketOf) {
  const found = [];
  let start = 0;
  for (let end = 1; end <= points.length; end += 1) {
    if (end < points.length && bucketOf(points[end]) === bucketOf(points[start])) continue;
    found.push(meanOf(points, start, end));
    start = end;
  }
  return found;
}

function meanOf(points, start, end) {
  let step = 0;
  let value = 0;
  for (let index = start; index < end; index += 1) {
    step += points[index].step;
    value += points[index].value;
  }
  return { step: step / (end - start), value: value / (end - start) };
}

function keepColumn(points, start, end, kept) {
  let low = start;
  let high = start;
  for (let index = start; index < end; index += 1) {
    if (points[index].value < points[low].value) low = index;
    if (points[index].value > points[high].value) high = index;
  }
  const wanted = [...new Set([start, low, high, end - 1])].sort((a, b) => a - b);
  for (const index of wanted) kept.push(points[index]);
}

function pointOf({ step, attempt, at, metrics }) {
  return { step, attempt: attempt ?? 1, at: Date.parse(at), metrics };
}

const compare = (a, b) => a.attempt - b.attempt || a.step - b.step || a.at - b.at;

function withoutDoubles(sorted) {
  return sorted.filter((point, index) => index === 0 || compare(sorted[index - 1], point) !== 0);
}
