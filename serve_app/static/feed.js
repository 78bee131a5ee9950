// What happened to the jobs, newest first, and what outside sources report.

import { arrange, byId, el, setText, show } from './dom.js';
import { number, time } from './format.js';
import { causeOf, clean, spaced } from './words.js';

const MOST_CHANGES = 200;

export class Feed {
  #changes = new Map();
  #onChoose;

  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /** A change from the socket or from the history of a job; false when it is known already. */
  add({ job_id: jobId, attempt, event, from, to, message, cause, at }) {
    const key = [jobId, attempt, event, Date.parse(at)].join();
    if (this.#changes.has(key)) return false;
    this.#changes.set(key, { jobId, attempt, event, from, to, message, cause, at: Date.parse(at), root: null });
    return true;
  }

  clear() {
    this.#changes.clear();
  }

  paint(nameOf) {
    const newest = [...this.#changes].sort(([, a], [, b]) => b.at - a.at).slice(0, MOST_CHANGES);
    this.#changes = new Map(newest);
    for (const [, change] of newest) {
      change.root ??= this.#newEntry(change);
      setText(change.root.querySelector('button'), nameOf(change.jobId));
    }
    arrange(byId('feed'), newest.map(([, change]) => change.root));
    show(byId('feed-empty'), newest.length === 0);
    show(byId('feed-log'), newest.length > 0);
  }

  #newEntry(change) {
    const job = el('button', { type: 'button', class: 'plain' });
    job.addEventListener('click', () => this.#onChoose(change.jobId));
    const when = el('time', { datetime: new Date(change.at).toISOString(), text: time(change.at) });
    const states = el('span', { class: 'states' });
    if (change.from) states.append(el('span', { text: change.from }), el('span', { 'aria-label': 'to', role: 'img', text: ' → ' }));
    states.append(el('span', { class: 'to', 'data-state': change.to, text: change.to }));
    const what = el('div', {}, states);
    const remark = remarkOf(change);
    if (remark) what.append(el('p', { class: 'soft small brief', text: remark }));
    return el('li', {}, el('div', { class: 'change-head' }, job, when), what);
  }
}

function remarkOf({ attempt, event, cause, message }) {
  const parts = [];
  if (attempt > 1) parts.push(`attempt ${attempt}`);
  if (event === 'requeue' || event === 'retry' || event === 'preempt') parts.push(spaced(event));
  if (cause && cause !== 'success') parts.push(causeOf(cause));
  if (message) parts.push(clean(message));
  return parts.join(' · ');
}

/** Values that belong to no job; those came in while this page was open. */
export class Outside {
  #rows = new Map();

  add({ metrics, at }) {
    for (const [name, value] of Object.entries(metrics)) {
      const row = this.#rows.get(name) ?? newRow(name);
      this.#rows.set(name, row);
      setText(row.latest, number(value));
      setText(row.at, time(at));
    }
  }

  clear() {
    this.#rows.clear();
  }

  paint() {
    show(byId('outside'), this.#rows.size > 0);
    const names = [...this.#rows.keys()].sort();
    arrange(byId('outside-body'), names.map((name) => this.#rows.get(name).root));
  }
}

function newRow(name) {
  const [latest, at] = [el('td'), el('td')];
  return { root: el('tr', {}, el('th', { scope: 'row', text: name }), latest, at), latest, at };
}
