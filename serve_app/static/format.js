// Numbers and times as the reader's locale writes them.

const plain = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 6 });
const large = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const scientific = new Intl.NumberFormat(undefined, { notation: 'scientific', maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const twoDecimals = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
// Rounded down: nothing is at 100 % before it is done.
const percents = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 0, roundingMode: 'floor' });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayAndClock = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

const units = Object.fromEntries(
  ['day', 'hour', 'minute', 'second'].map((unit) => [
    unit,
    new Intl.NumberFormat(undefined, { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits: 0 }),
  ]),
);

export function number(value) {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return scientific.format(value);
  return (size >= 1000 ? large : plain).format(value);
}

export const integer = (value) => whole.format(value);
export const money = (value) => twoDecimals.format(value);
export const percent = (fraction) => percents.format(fraction);

/** The two largest units, as in `2 min 5 sec`. */
export function duration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  const parts = [
    ['day', Math.floor(total / 86400)],
    ['hour', Math.floor(total / 3600) % 24],
    ['minute', Math.floor(total / 60) % 60],
    ['second', total % 60],
  ];
  const first = parts.findIndex(([, amount]) => amount > 0);
  if (first === -1) return units.second.format(0);
  return parts
    .slice(first, first + 2)
    .filter(([, amount]) => amount > 0)
    .map(([unit, amount]) => units[unit].format(amount))
    .join(' ');
}

/** The time of day, with as much of the date as is not today's. */
export function time(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return '';
  const now = new Date();
  if (date.toDateString() === now.toDateString()) return clock.format(date);
  return (date.getFullYear() === now.getFullYear() ? dayAndClock : full).format(date);
}

const tickFormats = new Map();

/** A formatter for the ticks of an axis that are `step` apart; kept, as making one takes longer than drawing. */
export function ticks(step) {
  if (!tickFormats.has(step)) tickFormats.set(step, newTicks(step));
  return tickFormats.get(step);
}

function newTicks(step) {
  const options = step >= 1000
    ? { notation: 'compact', maximumFractionDigits: 2 }
    : step < 1e-6
      ? { notation: 'scientific', maximumSignificantDigits: 4 }
      : { maximumFractionDigits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  const format = new Intl.NumberFormat(undefined, options);
  return (value) => format.format(value);
}

/** Any JSON value in a few words. */
export function value(given) {
  if (typeof given === 'number') return number(given);
  return typeof given === 'string' ? given : JSON.stringify(given);
}
