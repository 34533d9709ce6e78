// The public API with the session's cookie. Everything that goes wrong is one of three errors.

const BASE = '/api/v1';
const SECONDS = 30;

/** Tells `signed-out` and `reached`. */
export const connection = new EventTarget();

/** The server answered, and the answer is no. `detail` is a sentence for people. */
export class ApiError extends Error {
  constructor(status, body, pause) {
    const detail = body?.detail;
    super(typeof detail === 'string' ? detail : (detail?.message ?? `The server answered ${status}.`));
    Object.assign(this, { status, code: body?.code ?? '', errors: body?.errors ?? {}, body, pause });
  }

  /** The sentence with what it says about fields. */
  get sentence() {
    const reasons = Object.entries(this.errors).map(([field, said]) => `${field}: ${[said].flat(9).join(' ')}`);
    const told = reasons.filter((reason) => !this.message.includes(reason.slice(reason.indexOf(': ') + 2)));
    return [this.message, ...told].join(' ');
  }

  /** Worth asking again later. */
  get passing() {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** No identity any more; nothing was changed. */
export class SignedOut extends ApiError {}

/** No answer came: whether the request arrived is not known. */
export class Unreachable extends Error {}

/**
 * One request. `query` leaves out undefined and null; `body` is sent as JSON; `headers` are added.
 * Raises ApiError, SignedOut, Unreachable. Answers null for 204, and {rows, total} never: see `list`.
 */
export async function send(method, path, { query, body, keepalive = false, signal, headers } = {}) {
  const response = await fetched(method, path, { query, body, keepalive, signal, more: headers });
  if (response.status === 204) return null;
  return read(response);
}

/** A bare array of the API with its total: {rows, total}. */
export async function list(path, query) {
  const response = await fetched('GET', path, { query });
  const rows = await read(response);
  return { rows, total: Number(response.headers.get('X-Total-Count') ?? rows.length) };
}

export const get = (path, query, options) => send('GET', path, { query, ...options });
export const post = (path, body = {}, options) => send('POST', path, { body, ...options });

/** An image id as it stands in a path. */
export const inPath = (id) => id.split('/').map(encodeURIComponent).join('/');

export function address(path, query = {}) {
  const given = Object.entries(query).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  const told = new URLSearchParams(given.filter(([, value]) => value !== undefined && value !== null));
  return `${BASE}${path}${told.size ? `?${told}` : ''}`;
}

async function fetched(method, path, { query, body, keepalive, signal, more = {} }) {
  const headers = { Accept: 'application/json', ...more };
  if (method !== 'GET') headers['X-CSRFToken'] = csrfToken();
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const until = AbortSignal.timeout(SECONDS * 1000);
  let response;
  try {
    response = await fetch(address(path, query), {
      method, headers, keepalive, credentials: 'same-origin', cache: 'no-store',
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, until]) : until,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(String(error));
  }
  if (response.ok) {
    connection.dispatchEvent(new Event('reached'));
    return response;
  }
  throw await refusal(response);
}

async function read(response) {
  try {
    return await response.json();
  } catch (error) {
    throw new Unreachable(`The answer broke off: ${error}`);
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => null);
  if (response.status === 401) {
    connection.dispatchEvent(new Event('signed-out'));
    return new SignedOut(401, body);
  }
  const pause = Number(response.headers.get('Retry-After'));
  return new ApiError(response.status, body, Number.isFinite(pause) ? pause : 0);
}

/** Read anew each time: signing in again gives another one. */
export function csrfToken() {
  const found = document.cookie.split('; ').find((each) => each.startsWith('csrftoken='));
  return found ? decodeURIComponent(found.slice('csrftoken='.length)) : '';
}
