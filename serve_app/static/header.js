// The agent's name, its facts and budget, and how the connection is.

import { byId, sayOrHide, setAttribute, setBar, setText, show } from './dom.js';
import { money, percent } from './format.js';
import { spaced } from './words.js';

/** From this share on the budget deserves a look. */
const NEARLY_SPENT = 0.9;

export function paintAgent(agent) {
  document.title = `${agent.name} – live`;
  setText(byId('agent-name'), agent.name);
  const facts = [spaced(agent.type), agent.status, `version ${agent.version}`, `owner ${agent.owner}`];
  setText(byId('agent-facts'), facts.join(' · '));
  setAttribute(byId('agent-facts'), 'data-status', agent.status);
  sayOrHide(byId('agent-description'), agent.description);
  paintBudget(agent.budget_spent, agent.budget_limit);
}

function paintBudget(spent, limit) {
  show(byId('budget'), true);
  show(byId('budget-bar'), limit !== null);
  if (limit === null) {
    setText(byId('budget-text'), `${money(spent)} spent, no limit`);
    return;
  }
  const share = limit > 0 ? spent / limit : 1;
  const text = `${money(spent)} of ${money(limit)} spent`;
  setText(byId('budget-text'), `${text} (${percent(share)})`);
  setBar(byId('budget-bar'), share, text);
  setAttribute(byId('budget-bar'), 'data-level', share >= 1 ? 'spent' : share >= NEARLY_SPENT ? 'low' : null);
}

export function paintConnection(state) {
  setAttribute(byId('connection'), 'data-state', state.name);
  setText(byId('connection-text'), sentenceOf(state));
  show(byId('retry'), state.name === 'waiting');
}

function sentenceOf({ name, seconds, reason }) {
  if (name === 'live') return 'Live';
  if (name === 'connecting') return 'Connecting';
  if (name === 'refused') return 'Not connected';
  const why = navigator.onLine ? reason : 'This device is offline.';
  return `${why} Trying again in ${seconds} s.`;
}
