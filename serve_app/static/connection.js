// A WebSocket that comes back: reconnects with backoff unless the service says that it would be in vain.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const HELLO_WITHIN_MS = 10_000;
/** A connection that lived this long was a good one; the next wait is short again. */
const STEADY_MS = 5_000;
/** After so long without a message an open connection deserves doubt. */
const QUIET_MS = 10_000;
/** Close codes of the service are this plus an HTTP status. */
const CLOSE_BASE = 4000;

/**
 * `onMessage` gets each message. `onState` gets one of
 * `{name: 'connecting'}`, `{name: 'live'}`, `{name: 'waiting', seconds, reason}` and
 * `{name: 'refused', status, detail}`; after the last it stays closed until `start` is called again.
 */
export class Connection {
  #address;
  #onMessage;
  #onState;
  #socket = null;
  #timer = 0;
  #failures = 0;
  #liveSince = null;
  #heardAt = 0;
  #error = null;

  constructor(address, { onMessage, onState }) {
    this.#address = address;
    this.#onMessage = onMessage;
    this.#onState = onState;
  }

  get isLive() {
    return this.#liveSince !== null;
  }

  get isWaiting() {
    return this.#socket === null && this.#timer !== 0;
  }

  start(token) {
    this.stop();
    this.#failures = 0;
    this.#open(token);
  }

  stop() {
    this.#dropSocket();
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  /** Try at once instead of when the wait is over. */
  hurry(token) {
    if (this.isWaiting) this.start(token);
  }

  /** Others found the service silent; a cut that no packet told of would look like peace from here. */
  doubt(token) {
    const quiet = performance.now() - this.#heardAt > QUIET_MS;
    if (this.isLive && quiet) this.#cut(token, 'The service does not answer.');
  }

  #open(token) {
    this.#error = null;
    this.#onState({ name: 'connecting' });
    const socket = new WebSocket(this.#address, ['gaelp', `bearer.${token}`]);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#cut(token, 'The service did not greet in time.'), HELLO_WITHIN_MS);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = (event) => this.#closed(token, event);
  }

  #receive(data) {
    this.#heardAt = performance.now();
    const message = parse(data);
    if (message?.type === 'error') this.#error = message;
    if (message?.type === 'hello') {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#liveSince = performance.now();
      this.#onState({ name: 'live' });
    }
    if (message !== null) this.#onMessage(message);
  }

  #closed(token, { code, reason }) {
    const status = this.#error?.status ?? code - CLOSE_BASE;
    const detail = this.#error?.detail || reason;
    const refused = status >= 400 && status < 500 && status !== 429;
    if (!refused) {
      const what = this.isLive ? 'The connection was cut.' : 'The service cannot be reached.';
      this.#cut(token, detail || what);
      return;
    }
    this.stop();
    this.#onState({ name: 'refused', status, detail: detail || `The service refused with status ${status}.` });
  }

  #cut(token, reason) {
    if (this.#liveSince !== null && performance.now() - this.#liveSince > STEADY_MS) this.#failures = 0;
    this.stop();
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    // Spread, so that not every page comes back in the same instant after a restart.
    const wait = longest * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#open(token);
    }, wait);
    this.#onState({ name: 'waiting', seconds: Math.ceil(wait / 1000), reason });
  }

  #dropSocket() {
    if (this.#socket !== null) {
      this.#socket.onmessage = null;
      this.#socket.onclose = null;
      this.#socket.close();
    }
    this.#socket = null;
    this.#liveSince = null;
  }
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    console.warn('a message that is not JSON was left out');
    return null;
  }
}
