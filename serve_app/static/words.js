// What the service's short words mean, in words for people.

import { duration, integer, number, percent, time } from './format.js';

const PHASES = {
  admitted: 'has its place',
  starting: 'process is starting',
  preempting: 'makes way for another job',
  stopping: 'is being stopped',
  backoff: 'waits to try again',
};

const CAUSES = {
  success: 'done',
  user_error: 'its code failed',
  misconfigured: 'cannot work as configured',
  preempted: 'made way for a job of higher priority',
  node_lost: 'its node was lost',
  oom: 'ran out of memory',
  timeout: 'took longer than allowed',
  budget: 'the budget is used up',
  cancelled: 'cancelled',
  superseded: 'another attempt took its place',
};

const GLYPHS = { queued: '…', running: '▶', completed: '✓', failed: '✕', cancelled: '–' };

const ENDED = new Set(['completed', 'failed', 'cancelled']);
const GROUPS = ['running', 'queued'];

export const hasEnded = (job) => ENDED.has(job.status);
export const glyphOf = (status) => GLYPHS[status] ?? '•';
export const spaced = (word) => String(word).replaceAll('_', ' ');
export const causeOf = (cause) => CAUSES[cause] ?? spaced(cause);

/** The finer state, where it says more than the status. */
export const phaseOf = (job) => PHASES[job.phase] ?? null;

/** Running first, then those that wait, then those that ended; each newest first. */
export function byUrgency(a, b) {
  const group = (job) => (GROUPS.indexOf(job.status) + GROUPS.length + 1) % (GROUPS.length + 1);
  return group(a) - group(b) || b.id - a.id;
}

export function stepsOf({ step, total_steps: total, fraction }) {
  if (step === null) return null;
  if (!total) return `step ${integer(step)}`;
  return `step ${integer(step)} of ${integer(total)} · ${percent(fraction)}`;
}

export function waitingOf(job) {
  if (job.status !== 'queued') return null;
  if (job.phase === 'backoff' && job.not_before) return `Tries again at ${time(job.not_before)}.`;
  return job.waiting?.message ?? null;
}

// Colours of a terminal, which messages quoted from a process may hold.
const TERMINAL_CODES = /\u001b\[[0-9;]*[A-Za-z]/g;

export const clean = (message) => (message ?? '').replace(TERMINAL_CODES, '').trim();

/** How its newest ended attempt ended; while the job goes on that is an earlier one. */
export function endingOf(job) {
  if (!job.cause || (job.cause === 'success' && !job.message)) return null;
  const words = sentence(job.cause, job.message);
  return hasEnded(job) ? words : `Last attempt: ${words}`;
}

export function attemptsOf({ attempt, failures, losses }) {
  if (attempt < 2) return null;
  const parts = [`Attempt ${integer(attempt)}`];
  if (failures) parts.push(`${integer(failures)} failed`);
  if (losses) parts.push(`${integer(losses)} lost to the infrastructure`);
  return parts.join(' · ');
}

export function attemptOf(attempt) {
  const parts = [`Attempt ${integer(attempt.number)}`];
  if (attempt.resumed_from_step !== null) parts.push(`resumed from step ${integer(attempt.resumed_from_step)}`);
  else if (attempt.number > 1 && attempt.claimed_at) parts.push('started afresh');
  if (attempt.claimed_at && attempt.ended_at) {
    parts.push(`ran ${duration((Date.parse(attempt.ended_at) - Date.parse(attempt.claimed_at)) / 1000)}`);
  }
  if (attempt.cause) parts.push(sentence(attempt.cause, attempt.message));
  else parts.push(attempt.claimed_at ? 'running' : 'starting');
  return parts.join(' · ');
}

export function pointOf(metric, point) {
  return `${metric} ${number(point.value)} ${whereOf(point)}`;
}

export function whereOf({ step, attempt, at }) {
  const parts = [`at step ${integer(step)}`];
  if (attempt > 1) parts.push(`attempt ${integer(attempt)}`);
  parts.push(time(at));
  return parts.join(' · ');
}

function sentence(cause, message) {
  const words = clean(message);
  // The message says by whom.
  if (cause === 'cancelled' && words) return words;
  return words ? `${causeOf(cause)}: ${words}` : causeOf(cause);
}
