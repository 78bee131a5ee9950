// The bearer token: from the address, from this tab's storage, or from the form. It is sent to the API alone.

const KEY = 'gaelp.token';
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

let token = null;

export const currentToken = () => token;

/** Read the token of the address, then of the tab, and leave none in the address bar or the history. */
export function findToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given !== null) history.replaceState(null, '', location.pathname + location.search);
  if (given === null || !keepToken(given)) token ??= stored();
  return token;
}

/** False when the text is no token at all; a subprotocol could not even carry it. */
export function keepToken(text) {
  const bare = text.trim().replace(/^bearer\s+/i, '');
  if (!JWT.test(bare)) return false;
  token = bare;
  withStorage((storage) => storage.setItem(KEY, bare));
  return true;
}

export function forgetToken() {
  token = null;
  withStorage((storage) => storage.removeItem(KEY));
}

const stored = () => withStorage((storage) => storage.getItem(KEY)) ?? null;

// A browser may refuse storage altogether; the token then lives as long as the page.
function withStorage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}
