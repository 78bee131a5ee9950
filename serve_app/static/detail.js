// The chosen job: chart, values, result, attempts.

import { Chart } from './chart.js';
import { arrange, byId, el, sayOrHide, setAttribute, setText, show } from './dom.js';
import { duration, integer, number, time, value } from './format.js';
import { attemptOf, causeOf, clean, hasEnded, pointOf, whereOf } from './words.js';

const FAVOURITE = 'reward';

export class Detail {
  #chart;
  #metric = FAVOURITE;
  #curve = [];
  #rows = new Map();
  #onChange;

  /** `onChange` is called when the reader picked another metric. */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#chart = new Chart(byId('plot'), {
      describe: (point) => pointOf(this.#metric, point),
      onCursor: () => this.#cursorMoved(),
    });
    byId('metric').addEventListener('change', (event) => this.#pick(event.target.value));
  }

  /** Everything about the job that does not come with each step. */
  paintJob(job, attempts, result, now) {
    show(byId('detail'), true);
    setText(byId('detail-title'), `${job.name} #${job.id}`);
    setText(byId('detail-facts'), factsOf(job, now));
    paintNotices(job.notices);
    paintMessage(job);
    paintResult(result);
    const worthTelling = attempts.length > 1;
    show(byId('attempts'), worthTelling);
    paintLines(byId('attempts-list'), worthTelling ? attempts.map(attemptOf) : []);
  }

  paintSeries(job, series, loading) {
    const names = series.names;
    this.#paintChoice(names);
    this.#curve = series.curve(this.#shownMetric(names));
    this.#paintChart();
    const none = loading ? 'Loading…' : hasEnded(job) ? 'It reported no metrics.' : 'No metrics yet.';
    sayOrHide(byId('plot-empty'), this.#curve.length ? null : none);
    setText(byId('plot-summary'), summaryOf(this.#curve.length, series, loading, this.#chart.isDense));
    this.#paintValues(names, series);
  }

  #pick(metric) {
    this.#metric = metric;
    this.#chart.rest();
    this.#onChange();
  }

  /** The reader's choice stays, also through jobs that lack it. */
  #shownMetric(names) {
    if (names.includes(this.#metric)) return this.#metric;
    return names.includes(FAVOURITE) ? FAVOURITE : names[0];
  }

  #paintChoice(names) {
    const select = byId('metric');
    if (names.join() !== [...select.options].map((option) => option.value).join()) {
      select.replaceChildren(...names.map((name) => el('option', { value: name, text: name })));
    }
    select.disabled = names.length === 0;
    const shown = this.#shownMetric(names);
    if (shown !== undefined && select.value !== shown) select.value = shown;
  }

  #cursorMoved() {
    this.#paintChart();
  }

  #paintChart() {
    this.#chart.show(this.#curve);
    const point = this.#chart.cursor ?? this.#curve.at(-1);
    setText(byId('readout-value'), point ? number(point.value) : '–');
    setText(byId('readout-where'), point ? whereOf(point) : '');
  }

  #paintValues(names, series) {
    show(byId('values'), names.length > 0);
    for (const name of this.#rows.keys()) if (!names.includes(name)) this.#rows.delete(name);
    for (const name of names) if (!this.#rows.has(name)) this.#rows.set(name, this.#newRow(name));
    const shown = this.#shownMetric(names);
    const rows = names.map((name) => this.#rows.get(name));
    names.forEach((name, index) => {
      const [button, latest, lowest, highest] = rows[index].cells;
      setAttribute(button, 'aria-pressed', name === shown);
      setText(latest, number(series.latest(name)));
      setText(lowest, number(series.lowest(name)));
      setText(highest, number(series.highest(name)));
    });
    arrange(byId('values-body'), rows.map((row) => row.root));
  }

  #newRow(name) {
    const button = el('button', { type: 'button', class: 'plain', text: name, title: 'Show on the chart' });
    button.addEventListener('click', () => this.#pick(name));
    const cells = [1, 2, 3].map(() => el('td'));
    return { root: el('tr', {}, el('th', { scope: 'row' }, button), ...cells), cells: [button, ...cells] };
  }
}

function factsOf(job, now) {
  const facts = [`priority ${integer(job.priority)}`, `submitted ${time(job.submitted_at)}`];
  if (job.started_at) {
    const end = job.finished_at ? Date.parse(job.finished_at) : now;
    facts.push(`started ${time(job.started_at)}`);
    facts.push(`${job.finished_at ? 'took' : 'for'} ${duration((end - Date.parse(job.started_at)) / 1000)}`);
  }
  const needs = Object.entries(job.resource_requirements).filter(([, amount]) => amount !== '0');
  if (needs.length) facts.push(needs.map(([name, amount]) => `${name} ${amount}`).join(', '));
  return facts.join(' · ');
}

function summaryOf(count, series, loading, dense) {
  if (count === 0) return '';
  const parts = [`${integer(count)} ${count === 1 ? 'point' : 'points'}`];
  if (dense) parts.push('the strong line is their mean');
  if (loading) parts.push('loading earlier ones');
  if (series.incomplete) parts.push('the earliest are not shown');
  if (series.thinned) parts.push('older ones are thinned');
  return parts.join(' · ');
}

function paintNotices(notices) {
  show(byId('job-notices'), notices.length > 0);
  paintLines(byId('job-notices'), notices);
}

/** In full; the lists show only its beginning. */
function paintMessage(job) {
  show(byId('message'), Boolean(job.message));
  if (!job.message) return;
  const title = hasEnded(job) ? 'How it ended' : 'How its last attempt ended';
  setText(byId('message-title'), job.cause ? `${title}: ${causeOf(job.cause)}` : title);
  setText(byId('message-text'), clean(job.message));
}

function paintResult(result) {
  const entries = Object.entries(result ?? {});
  show(byId('result'), entries.length > 0);
  const text = JSON.stringify(entries);
  if (byId('result-body').dataset.shown === text) return;
  byId('result-body').dataset.shown = text;
  byId('result-body').replaceChildren(
    ...entries.map(([name, given]) => el('tr', {}, el('th', { scope: 'row', text: name }), el('td', { text: value(given) }))),
  );
}

function paintLines(list, lines) {
  arrange(list, lines.map((_, index) => list.children[index] ?? el('li')));
  lines.forEach((line, index) => setText(list.children[index], line));
}
