// Reading the HTTP API.

import { currentToken } from './session.js';

// This file lies in <root>/static/, so the page also works where a proxy puts a prefix before everything.
const ROOT = new URL('..', import.meta.url);
const PATIENCE_MS = 10_000;

/** An answer of the API that is no success. */
export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** No answer at all: the network or the service is away. */
export class Silence extends Error {}

export async function get(path, parameters = {}, signal = undefined) {
  const url = new URL(`api/v1/${path}`, ROOT);
  url.search = new URLSearchParams(parameters);
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(url, {
    headers: { Authorization: `Bearer ${currentToken()}` },
    credentials: 'omit',
    cache: 'no-store',
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  }).catch((error) => {
    throw new Silence(error.message);
  });
  if (!answer.ok) throw await problemOf(answer);
  return answer.json();
}

export function socketAddress(agentId) {
  const url = new URL(`ws/${agentId}`, ROOT);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url;
}

async function problemOf(answer) {
  const body = await answer.json().catch(() => ({}));
  const detail = body.detail ?? `The service answered with status ${answer.status}.`;
  return new Problem(answer.status, body.code ?? 'unknown', detail);
}
