// A line chart on a canvas: value over step, one line per attempt, and a cursor for pointer and keyboard.

import { setAttribute } from './dom.js';
import { integer, ticks } from './format.js';
import { byAttempt, decimate, means } from './series.js';

const MARGIN = { top: 24, right: 14, bottom: 26, left: 10 };
const TICK_GAP = { x: 80, y: 44 };
/** Of more points than pixels the eye sees a blur; the means over this many pixels show the way. */
const MEAN_WIDTH = 6;
const LABEL_FONT = '12px system-ui, sans-serif';
/** Keys that move the cursor, and by how many points. */
const JUMPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -20, PageUp: 20, Home: -Infinity, End: Infinity };

/**
 * `host` is a focusable element with `role=slider` around a canvas: the slider picks a point of the curve.
 * `describe(point)` is what a screen reader says of a point; `onCursor` is called when the cursor moved.
 */
export class Chart {
  #host;
  #canvas;
  #describe;
  #onCursor;
  #colours = null;
  #curve = [];
  #cursor = null;
  #scale = null;
  #dense = false;

  constructor(host, { describe, onCursor }) {
    this.#host = host;
    this.#canvas = host.querySelector('canvas');
    this.#describe = describe;
    this.#onCursor = onCursor;
    this.#listen();
  }

  /** The point under the cursor, or null while it rests: then the newest point is of interest. */
  get cursor() {
    return this.#cursor;
  }

  /** Whether the strong line is one of means, as there are more points than pixels. */
  get isDense() {
    return this.#dense;
  }

  show(curve) {
    this.#curve = curve;
    // The series may have dropped the point, or the curve may be another one.
    if (this.#cursor !== null && this.#indexOfCursor() === -1) this.#cursor = null;
    setAttribute(this.#host, 'aria-disabled', curve.length === 0 ? 'true' : null);
    if (this.#host.ariaValueNow === null) this.#announce();
    this.#draw();
  }

  rest() {
    if (this.#cursor === null) return;
    this.#cursor = null;
    this.#onCursor();
  }

  #listen() {
    this.#host.addEventListener('pointermove', (event) => this.#pointAt(event.offsetX));
    this.#host.addEventListener('pointerdown', (event) => this.#pointAt(event.offsetX));
    // A finger leaves when it lifts; its point stays until the next tap.
    this.#host.addEventListener('pointerleave', (event) => event.pointerType === 'touch' || this.rest());
    this.#host.addEventListener('keydown', (event) => this.#key(event));
    this.#host.addEventListener('focus', () => this.#announce());
    this.#host.addEventListener('blur', () => this.rest());
    new ResizeObserver(() => this.#draw()).observe(this.#host);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#colours = null;
      this.#draw();
    });
  }

  #pointAt(x) {
    if (this.#curve.length === 0 || this.#scale === null) return;
    // Where attempts overlap the newer one is meant, so the last of the nearest wins.
    let nearest = this.#curve[0];
    for (const point of this.#curve) {
      if (Math.abs(this.#scale.x(point.step) - x) <= Math.abs(this.#scale.x(nearest.step) - x)) nearest = point;
    }
    this.#moveTo(nearest);
  }

  #key(event) {
    if (event.key === 'Escape') this.rest();
    const jump = JUMPS[event.key];
    if (jump === undefined || this.#curve.length === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const last = this.#curve.length - 1;
    const from = this.#cursor === null ? last : this.#indexOfCursor();
    this.#moveTo(this.#curve[Math.min(last, Math.max(0, from + jump))]);
    this.#announce();
  }

  #moveTo(point) {
    if (point === this.#cursor) return;
    this.#cursor = point;
    this.#onCursor();
  }

  #indexOfCursor() {
    const { step, attempt, at } = this.#cursor;
    return this.#curve.findIndex((p) => p.step === step && p.attempt === attempt && p.at === at);
  }

  /** Only on the reader's own moves: at ten points a second a screen reader would never be silent. */
  #announce() {
    const last = this.#curve.length - 1;
    if (last < 0) {
      for (const name of ['aria-valuemin', 'aria-valuemax', 'aria-valuenow']) setAttribute(this.#host, name, 0);
      setAttribute(this.#host, 'aria-valuetext', 'No points yet');
      return;
    }
    const index = this.#cursor === null ? last : this.#indexOfCursor();
    setAttribute(this.#host, 'aria-valuemin', 1);
    setAttribute(this.#host, 'aria-valuemax', last + 1);
    setAttribute(this.#host, 'aria-valuenow', index + 1);
    setAttribute(this.#host, 'aria-valuetext', this.#describe(this.#curve[index]));
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#host;
    if (width === 0) return;
    const context = this.#fit(width, height);
    if (this.#curve.length === 0) {
      this.#scale = null;
      return;
    }
    this.#colours ??= coloursOf(this.#host);
    const axes = axesOf(this.#curve, context, width, height);
    this.#scale = axes;
    drawGrid(context, axes, this.#colours);
    this.#drawCurve(context, axes);
    if (this.#cursor !== null) drawCursor(context, axes, this.#cursor, this.#colours);
  }

  /** One canvas pixel per device pixel, or lines blur. */
  #fit(width, height) {
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== wide) this.#canvas.width = wide;
    if (this.#canvas.height !== high) this.#canvas.height = high;
    const context = this.#canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = LABEL_FONT;
    return context;
  }

  #drawCurve(context, axes) {
    const segments = byAttempt(this.#curve);
    this.#dense = false;
    segments.forEach((segment, index) => {
      const colour = index === segments.length - 1 ? this.#colours.line : this.#colours.oldLine;
      if (index > 0) drawResumption(context, axes, segment[0], segments[index + 1]?.[0], this.#colours);
      this.#drawSegment(context, axes, segment, colour);
    });
    drawDot(context, axes, this.#curve.at(-1), this.#colours);
  }

  #drawSegment(context, axes, points, colour) {
    const column = (point) => Math.floor(axes.x(point.step));
    const shown = decimate(points, column);
    const columns = column(points.at(-1)) - column(points[0]) + 1;
    if (points.length < 1.5 * columns || columns < 3 * MEAN_WIDTH) {
      drawLine(context, axes, shown, colour, 2);
      return;
    }
    this.#dense = true;
    context.globalAlpha = 0.35;
    drawLine(context, axes, shown, colour, 1);
    context.globalAlpha = 1;
    drawLine(context, axes, means(points, (point) => Math.floor(column(point) / MEAN_WIDTH)), colour, 2.5);
  }
}

function coloursOf(host) {
  const style = getComputedStyle(host);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    line: colour('--line'),
    oldLine: colour('--old-line'),
    grid: colour('--border'),
    label: colour('--soft'),
    ink: colour('--ink'),
    surface: colour('--surface'),
  };
}

function axesOf(curve, context, width, height) {
  const [firstStep, lastStep] = span(curve, (point) => point.step);
  const [lowest, highest] = padded(...span(curve, (point) => point.value));
  const bottom = height - MARGIN.bottom;
  const yTicks = niceTicks(lowest, highest, (bottom - MARGIN.top) / TICK_GAP.y);
  const widest = Math.max(...yTicks.labels.map((label) => context.measureText(label).width));
  const left = MARGIN.left + widest + 8;
  const right = width - MARGIN.right;
  return {
    left,
    right,
    bottom,
    top: MARGIN.top,
    x: scale(firstStep, lastStep, left, right),
    y: scale(lowest, highest, bottom, MARGIN.top),
    xTicks: niceTicks(firstStep, lastStep, (right - left) / TICK_GAP.x, 1),
    yTicks,
  };
}

function span(curve, of) {
  let least = Infinity;
  let most = -Infinity;
  for (const point of curve) {
    least = Math.min(least, of(point));
    most = Math.max(most, of(point));
  }
  return [least, most];
}

/** Room above and below; a flat curve gets enough to lie in the middle. */
function padded(least, most) {
  const room = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
  return [least - room, most + room];
}

function scale(from, to, start, end) {
  if (from === to) return () => (start + end) / 2;
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

/** Round values between two ends, about `count` of them and at least `smallest` apart. */
function niceTicks(from, to, count, smallest = 0) {
  const rough = (to - from) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough * 0.999) ?? 10;
  const step = Math.max(smallest, factor * power);
  const format = ticks(step);
  const values = [];
  for (let index = Math.ceil(from / step); index * step <= to && values.length < 50; index += 1) values.push(index * step);
  return { values, labels: values.map(format) };
}

function drawGrid(context, axes, colours) {
  context.lineWidth = 1;
  context.strokeStyle = colours.grid;
  context.fillStyle = colours.label;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  axes.yTicks.values.forEach((value, index) => {
    const y = Math.round(axes.y(value)) + 0.5;
    stroke(context, [[axes.left, y], [axes.right, y]]);
    context.fillText(axes.yTicks.labels[index], axes.left - 8, y);
  });
  context.textBaseline = 'alphabetic';
  context.textAlign = 'center';
  axes.xTicks.values.forEach((value, index) => {
    const label = axes.xTicks.labels[index];
    const half = context.measureText(label).width / 2;
    const x = Math.min(axes.right - half, Math.max(axes.left + half, axes.x(value)));
    context.fillText(label, x, axes.bottom + 18);
  });
}

function drawLine(context, axes, shown, colour, width) {
  context.strokeStyle = colour;
  context.fillStyle = colour;
  context.lineWidth = width;
  context.lineJoin = 'round';
  if (shown.length === 1) disc(context, axes.x(shown[0].step), axes.y(shown[0].value), width + 0.5);
  else stroke(context, shown.map((point) => [axes.x(point.step), axes.y(point.value)]));
}

/** Where an attempt began, with a label if there is room before the next one's. */
function drawResumption(context, axes, first, next, colours) {
  const x = Math.round(axes.x(first.step)) + 0.5;
  context.strokeStyle = colours.label;
  context.lineWidth = 1;
  context.setLineDash([3, 4]);
  stroke(context, [[x, axes.top - 4], [x, axes.bottom]]);
  context.setLineDash([]);
  const label = `attempt ${integer(first.attempt)}`;
  const room = context.measureText(label).width + 8;
  if (next !== undefined && axes.x(next.step) - x < room) return;
  context.fillStyle = colours.label;
  context.textAlign = 'left';
  context.fillText(label, Math.min(x, axes.right - room), axes.top - 8);
}

function drawDot(context, axes, point, colours) {
  const [x, y] = [axes.x(point.step), axes.y(point.value)];
  context.fillStyle = colours.surface;
  disc(context, x, y, 6);
  context.fillStyle = colours.line;
  disc(context, x, y, 4);
}

function drawCursor(context, axes, point, colours) {
  const [x, y] = [axes.x(point.step), axes.y(point.value)];
  context.strokeStyle = colours.ink;
  context.lineWidth = 1;
  stroke(context, [[Math.round(x) + 0.5, axes.top], [Math.round(x) + 0.5, axes.bottom]]);
  context.fillStyle = colours.surface;
  disc(context, x, y, 7);
  context.fillStyle = colours.ink;
  disc(context, x, y, 4.5);
}

function stroke(context, corners) {
  context.beginPath();
  for (const [x, y] of corners) context.lineTo(x, y);
  context.stroke();
}

function disc(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
