// The live page of an agent: holds what is known, and paints it at most once a frame.

import { Problem, Silence, get, socketAddress } from './api.js';
import { Connection } from './connection.js';
import { Detail } from './detail.js';
import { byId, sayOrHide, setText, show } from './dom.js';
import { Feed, Outside } from './feed.js';
import { paintAgent, paintConnection } from './header.js';
import { JobList } from './jobs.js';
import { Series } from './series.js';
import { currentToken, findToken, forgetToken, keepToken } from './session.js';
import { byUrgency, clean, hasEnded } from './words.js';

const JOBS_PAGE = 50;
const MOST_JOBS = 500;
const POINTS_PAGE = 1000;
const MOST_PAGES = 20;
/** Jobs whose past changes fill the feed. */
const JOBS_TOLD = 5;
const BUSY_REFRESH_MS = 5_000;
const IDLE_REFRESH_MS = 30_000;
/** Live points kept for a job that gets chosen before the database has them. */
const RECENT = 2_000;
const WORDS_GAP_MS = 250;
/** However much happens, the service is asked no more often than this. */
const REFRESH_GAP_MS = 500;

const agentId = location.pathname.match(/\/live\/(\d+)\/?$/)?.[1] ?? '';

const jobs = new Map();
/** Jobs of others, which this token may not see though their points come in. */
const strangers = new Set();
let jobsLimit = JOBS_PAGE;
let chosenId = null;
let chosenByReader = false;
let series = new Series();
let attempts = [];
// Of the chosen job: lists and messages carry no results.
let result = null;
let loading = null;
let recent = [];
/** Server's clock minus ours, in ms. */
let skew = 0;
let refreshedAt = 0;

const jobList = new JobList((id) => choose(id, true));
const detail = new Detail(() => changed('series'));
const feed = new Feed((id) => jobs.has(id) && choose(id, true));
const outside = new Outside();
const connection = new Connection(socketAddress(agentId), { onMessage: receive, onState: connectionChanged });

const refresh = oneAtATime(loadAgentAndJobs);

// Painting

const dirty = new Set();
let soon = null;

/** Ask for parts of the page to be painted anew; many calls before a frame cost one painting. */
function changed(...parts) {
  if (dirty.size === 0) requestAnimationFrame(paint);
  parts.forEach((part) => dirty.add(part));
}

/** The chart keeps pace with the points; nobody could read words that change as fast. */
function jobsChangedSoon() {
  soon ??= setTimeout(() => {
    soon = null;
    changed('jobs');
  }, WORDS_GAP_MS);
}

function paint() {
  const parts = new Set(dirty);
  dirty.clear();
  const chosen = jobs.get(chosenId);
  if (parts.has('jobs')) jobList.paint(jobs.values(), chosenId, etaOf);
  if (parts.has('jobs') && chosen) detail.paintJob(chosen, attempts, result, serverNow());
  if (parts.has('series') && chosen) detail.paintSeries(chosen, series, loading !== null);
  if (parts.has('feed')) feed.paint(nameOf);
  if (parts.has('outside')) outside.paint();
}

const nameOf = (id) => (jobs.has(id) ? `${jobs.get(id).name} #${id}` : `Job #${id}`);

const serverNow = () => Date.now() + skew;

/** As the service reckons it, from what is known now: the mean pace of the attempt that runs. */
function etaOf(job) {
  const { step, total_steps: total, running_since: since, from_step: from } = job.progress;
  if (job.status !== 'running' || !since || !total || !(step > (from ?? 0))) return null;
  const pace = Math.max(0, serverNow() - Date.parse(since)) / 1000 / (step - (from ?? 0));
  return Math.max(0, (total - step) * pace);
}

// Messages

function receive(message) {
  if (message.type === 'hello') greeted(message);
  else if (message.type === 'metrics') measured(message);
  else if (message.type === 'state') moved(message);
}

function greeted({ at, jobs: newest }) {
  skew = Date.parse(at) - Date.now();
  show(byId('board'), true);
  show(byId('forget'), true);
  newest.forEach(adopt);
  // After a cut, points and changes may have been missed.
  if (chosenId !== null) loadPast(chosenId);
  settleChoice();
  tellPast([...jobs.keys()].sort((a, b) => b - a).slice(0, JOBS_TOLD));
  changed('jobs', 'series', 'feed');
  refresh();
}

function measured(message) {
  if (message.job_id === null) {
    outside.add(message);
    changed('outside');
    return;
  }
  recent.push(message);
  if (recent.length > 2 * RECENT) recent = recent.slice(-RECENT);
  const job = jobs.get(message.job_id);
  if (job === undefined) {
    if (!strangers.has(message.job_id)) refresh();
    strangers.add(message.job_id);
    return;
  }
  follow(job, message);
  jobsChangedSoon();
  if (message.job_id === chosenId) {
    series.add([message]);
    changed('series');
  }
}

/** Let a job's progress follow its live points; the database learns of them a little later. */
function follow(job, { attempt, step, total_steps: total, metrics }) {
  if (attempt < job.attempt || step === null) return;
  job.attempt = attempt;
  const totalSteps = total ?? job.progress.total_steps;
  job.progress = {
    ...job.progress,
    step,
    total_steps: totalSteps,
    fraction: totalSteps ? Math.min(1, step / totalSteps) : null,
    metrics,
  };
  job.liveStep = { attempt, step };
}

function moved(message) {
  const job = jobs.get(message.job_id);
  if (job !== undefined) {
    const before = job.status;
    Object.assign(job, { phase: message.to, status: message.status, waiting: null, attempt: message.attempt ?? job.attempt });
    if (job.status !== before) announce(job, message.message);
  }
  feed.add(message);
  settleChoice();
  changed('jobs', 'feed');
  // Why it waits, how it ended and what it spent is not in the message.
  refresh();
  if (message.job_id === chosenId) loadAttempts(chosenId).catch(reportTrouble);
}

function announce(job, message) {
  // A traceback would be read out to its end.
  const [firstLine] = clean(message).split('\n');
  setText(byId('announcer'), `${job.name} is ${job.status}. ${firstLine}`.trim());
}

function adopt(job) {
  const { liveStep } = jobs.get(job.id) ?? {};
  const known = jobs.get(job.id)?.progress;
  const behind = liveStep && liveStep.attempt === job.attempt && liveStep.step > (job.progress.step ?? -1);
  jobs.set(job.id, behind ? { ...job, progress: known, liveStep } : job);
}

// The chosen job

function choose(id, byReader) {
  chosenByReader ||= byReader;
  if (id === chosenId) return;
  chosenId = id;
  series = new Series();
  series.add(recent.filter((message) => message.job_id === id));
  attempts = [];
  result = null;
  loadPast(id);
  tellPast([id]);
  changed('jobs', 'series');
}

/** Until the reader picks a job, the page goes along with the one that runs. */
function settleChoice() {
  const current = jobs.get(chosenId);
  const ordered = [...jobs.values()].sort(byUrgency);
  if (ordered.length === 0) return;
  const [first] = ordered;
  if (current === undefined) choose((first.status === 'running' ? first : mostToSee(ordered)).id, false);
  else if (!chosenByReader && current.status !== 'running' && first.status === 'running') choose(first.id, false);
}

const mostToSee = (ordered) => ordered.find((job) => job.progress.step !== null) ?? ordered[0];

/** Fetch a job's points, newest first, and its attempts; an earlier fetch is given up. */
async function loadPast(id) {
  loading?.abort();
  const mine = new AbortController();
  loading = mine;
  try {
    await Promise.all([loadPoints(id, mine.signal), loadAttempts(id, mine.signal)]);
  } catch (error) {
    if (!mine.signal.aborted) reportTrouble(error);
  } finally {
    if (loading === mine) loading = null;
    changed('series');
  }
}

async function loadPoints(id, signal) {
  const into = series;
  // What was complete once needs only what came since.
  const until = into.completeUntil;
  let cursor = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const parameters = { job_id: id, limit: POINTS_PAGE, ...(cursor && { cursor }) };
    const answer = await get(`agents/${agentId}/metrics`, parameters, signal);
    into.add(answer.items);
    changed('series');
    cursor = answer.next_cursor;
    if (cursor === null || Date.parse(answer.items.at(-1).at) <= until) break;
  }
  into.incomplete ||= cursor !== null && until === -Infinity;
  into.completeUntil = into.newestAt;
}

async function loadAttempts(id, signal) {
  const [{ items }, job] = await Promise.all([
    get(`jobs/${id}/attempts`, {}, signal),
    get(`jobs/${id}`, {}, signal),
  ]);
  if (id !== chosenId) return;
  attempts = items;
  ({ result } = job);
  changed('jobs');
}

async function tellPast(ids) {
  try {
    await Promise.all(ids.map(loadChanges));
    changed('feed');
  } catch (error) {
    reportTrouble(error);
  }
}

async function loadChanges(id) {
  const { items } = await get(`jobs/${id}/events`, { limit: 1000 });
  for (const item of items) {
    feed.add({ ...item, job_id: id, from: item.from_state, to: item.to_state, cause: item.data.cause });
  }
}

// Keeping up to date

async function loadAgentAndJobs() {
  // A refresh may have waited for its turn while the token was forgotten.
  if (currentToken() === null) return;
  refreshedAt = performance.now();
  try {
    const running = { agent_id: agentId, status: 'running', limit: JOBS_PAGE };
    const [agent, newest, active] = await Promise.all([
      get(`agents/${agentId}`),
      get('jobs', { agent_id: agentId, limit: jobsLimit }),
      // An old job may run while many newer ones wait.
      get('jobs', running),
    ]);
    paintAgent(agent);
    [...newest.items, ...active.items].forEach(adopt);
    settleChoice();
    show(byId('more-jobs'), newest.next_cursor !== null && jobsLimit < MOST_JOBS);
    sayOrHide(byId('notice'), null);
    changed('jobs', 'feed');
  } catch (error) {
    reportTrouble(error);
  }
}

function reportTrouble(error) {
  if (error instanceof Problem && error.status === 401) askForToken(error.message);
  else if (error instanceof Problem) sayOrHide(byId('notice'), error.message);
  else if (error instanceof Silence) connection.doubt(currentToken());
  else throw error;
}

function connectionChanged(state) {
  paintConnection(state);
  if (state.name === 'live') sayOrHide(byId('notice'), null);
  if (state.name !== 'refused') return;
  if (state.status === 401) {
    askForToken(state.detail);
    return;
  }
  // Another token might see more.
  show(byId('forget'), true);
  sayOrHide(byId('notice'), state.detail);
}

function tick() {
  if (document.hidden || !connection.isLive) return;
  const busy = [...jobs.values()].some((job) => !hasEnded(job));
  if (busy) changed('jobs');
  if (performance.now() - refreshedAt > (busy ? BUSY_REFRESH_MS : IDLE_REFRESH_MS)) refresh();
}

/** While one run goes on, any number of further calls ask for one more after it. */
function oneAtATime(work) {
  let running = false;
  let again = false;
  return async function run() {
    again = running;
    if (running) return;
    running = true;
    await work();
    await new Promise((done) => setTimeout(done, REFRESH_GAP_MS));
    running = false;
    if (again) run();
  };
}

function comeBack() {
  if (document.hidden || currentToken() === null) return;
  connection.hurry(currentToken());
  if (connection.isLive) refresh();
}

// The token

function askForToken(why) {
  connection.stop();
  forgetToken();
  paintConnection({ name: 'refused' });
  sayOrHide(byId('notice'), null);
  sayOrHide(byId('ask-why'), why);
  show(byId('board'), false);
  show(byId('forget'), false);
  show(byId('ask'), true);
  byId('token').focus();
}

function tokenGiven(event) {
  event.preventDefault();
  const field = byId('token');
  if (!keepToken(field.value)) {
    sayOrHide(byId('ask-why'), 'That is no token: it has three parts, with dots between them.');
    field.setAttribute('aria-invalid', 'true');
    field.focus();
    return;
  }
  field.value = '';
  field.removeAttribute('aria-invalid');
  watch();
}

/** Another token may see other things. */
function startAfresh() {
  loading?.abort();
  jobs.clear();
  strangers.clear();
  feed.clear();
  outside.clear();
  recent = [];
  chosenId = null;
  chosenByReader = false;
  show(byId('board'), false);
  show(byId('detail'), false);
}

function watch() {
  startAfresh();
  show(byId('ask'), false);
  connection.start(currentToken());
}

function begin() {
  byId('ask').addEventListener('submit', tokenGiven);
  byId('forget').addEventListener('click', () => askForToken('The token is forgotten. Give one to go on.'));
  byId('retry').addEventListener('click', () => connection.hurry(currentToken()));
  byId('more-jobs').addEventListener('click', () => {
    jobsLimit += JOBS_PAGE;
    refresh();
  });
  addEventListener('online', comeBack);
  document.addEventListener('visibilitychange', comeBack);
  // Somebody pasted another token into the address of the open page.
  addEventListener('hashchange', () => location.hash.includes('token=') && findToken() && watch());
  setInterval(tick, 1000);
  setText(byId('agent-name'), `Agent ${agentId}`);
  if (findToken() === null) askForToken('The live page shows what your token may see.');
  else watch();
}

begin();
