// The list of jobs.

import { arrange, byId, el, sayOrHide, setAttribute, setBar, setText, show } from './dom.js';
import { duration, integer } from './format.js';
import { attemptsOf, byUrgency, endingOf, glyphOf, phaseOf, stepsOf, waitingOf } from './words.js';

export class JobList {
  #cards = new Map();
  #onChoose;
  #shownId = null;

  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /** `etaOf(job)` is in seconds, or null. */
  paint(jobs, chosenId, etaOf) {
    const ordered = [...jobs].sort(byUrgency);
    const cards = ordered.map((job) => this.#card(job));
    ordered.forEach((job, index) => fill(cards[index], job, job.id === chosenId, etaOf(job)));
    arrange(byId('jobs'), cards.map((card) => card.root));
    this.#forgetAllBut(new Set(ordered.map((job) => job.id)));
    setText(byId('jobs-count'), ordered.length ? integer(ordered.length) : '');
    show(byId('jobs-empty'), ordered.length === 0);
    if (chosenId !== this.#shownId && this.#cards.has(chosenId)) bringIntoView(byId('jobs'), this.#cards.get(chosenId).root);
    this.#shownId = chosenId;
  }

  #card(job) {
    if (!this.#cards.has(job.id)) this.#cards.set(job.id, newCard(() => this.#onChoose(job.id)));
    return this.#cards.get(job.id);
  }

  #forgetAllBut(ids) {
    for (const id of this.#cards.keys()) if (!ids.has(id)) this.#cards.delete(id);
  }
}

/** Scrolls the list alone; `scrollIntoView` would move the page under the reader as well. */
function bringIntoView(list, card) {
  const [frame, box] = [list.getBoundingClientRect(), card.getBoundingClientRect()];
  list.scrollBy({ left: outsideBy(box.left, box.right, frame.left, frame.right), top: outsideBy(box.top, box.bottom, frame.top, frame.bottom) });
}

function outsideBy(start, end, frameStart, frameEnd) {
  if (start < frameStart) return start - frameStart;
  return Math.max(0, Math.min(end - frameEnd, start - frameStart));
}

/** The button spreads over its card by style; the rest lies beside it, where screen readers find it. */
function newCard(onChoose) {
  const name = el('button', { type: 'button', class: 'job-name' });
  name.addEventListener('click', onChoose);
  const pill = newPill();
  const bar = el('div', { class: 'bar', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' }, el('div', { class: 'fill' }));
  const lines = ['phase', 'steps', 'eta', 'waiting', 'ending', 'attempts'].map((kind) => [kind, el('p', { class: `line ${kind}` })]);
  const { phase, steps, eta, waiting, ending, attempts } = Object.fromEntries(lines);
  const root = el(
    'li',
    { class: 'job' },
    el('div', { class: 'job-head' }, name, pill),
    phase,
    bar,
    el('div', { class: 'pace' }, steps, eta),
    waiting,
    ending,
    attempts,
  );
  return { root, name, pill, phase, bar, steps, eta, waiting, ending, attempts };
}

/** A status as word and sign, so that colour is not needed to tell them apart. */
function newPill() {
  return el('span', { class: 'pill' }, el('span', { 'aria-hidden': 'true' }), el('span'));
}

function fillPill(pill, status) {
  setAttribute(pill, 'data-status', status);
  setText(pill.firstElementChild, glyphOf(status));
  setText(pill.lastElementChild, status);
}

function fill(card, job, chosen, eta) {
  setText(card.name, `${job.name} #${job.id}`);
  setAttribute(card.name, 'aria-current', chosen ? 'true' : null);
  setAttribute(card.root, 'data-chosen', chosen ? '' : null);
  setAttribute(card.root, 'data-status', job.status);
  fillPill(card.pill, job.status);
  const waiting = waitingOf(job);
  sayOrHide(card.phase, waiting ? null : phaseOf(job));
  const steps = stepsOf(job.progress);
  show(card.bar, job.progress.fraction !== null && job.status !== 'completed');
  setAttribute(card.bar, 'aria-label', `Progress of ${job.name}`);
  setBar(card.bar, job.progress.fraction, steps);
  sayOrHide(card.steps, steps ?? (job.status === 'running' ? 'no step yet' : null));
  sayOrHide(card.eta, eta === null ? null : `about ${duration(eta)} left`);
  sayOrHide(card.waiting, waiting);
  sayOrHide(card.ending, endingOf(job));
  sayOrHide(card.attempts, attemptsOf(job));
}
