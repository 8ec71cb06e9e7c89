/** The label server's HTTP API, version 1. Knows no page. */

const BASE = "/api/v1";

/** The server answered, and refused: `status` is HTTP's, `code` the server's own word. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Worth sending again unchanged: overload, a server that is starting or failing. */
  get temporary() {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** No answer at all: server stopped, network gone, or slower than the timeout. */
export class Unreachable extends Error {}

async function call(method, path, body, timeout_ms = 10_000) {
  let response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(timeout_ms),
    });
  } catch (error) {
    throw new Unreachable(error.message);
  }
  let reply = null;
  try {
    reply = await response.json();
  } catch {
    if (response.ok) throw new Unreachable("the reply broke off");
  }
  if (response.ok) return reply;
  throw new Refused(response.status, reply?.error?.code ?? "", reply?.error?.message ?? response.statusText);
}

export const openSession = (token) => call("POST", "/session", { token });
export const getRun = () => call("GET", "/run");
export const getStatus = () => call("GET", "/status");
export const recentAnswers = (limit) => call("GET", `/answers?limit=${limit}`);
/** Up to `limit` pairs nobody else has, for a limited time; the leases of `hold` are prolonged too. */
export const lease = (limit, hold) => call("POST", "/queries/lease", { limit, hold });
export const postAnswer = (queryId, answer) => call("POST", `/queries/${queryId}/answer`, answer);
export const postUndo = (clientUuid) => call("POST", `/answers/${clientUuid}/undo`, {});

/** The bytes of a clip. */
export async function fetchClip(url, timeout_ms = 15_000) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", signal: AbortSignal.timeout(timeout_ms) });
    if (response.ok) return await response.blob();
  } catch (error) {
    throw new Unreachable(error.message);
  }
  throw new Refused(response.status, "clip", response.statusText);
}

/**
 * The server's status whenever it changes, for ever: `onStatus(status)`, `onReachable(true | false)`.
 * We reconnect by ourselves: a browser gives an EventSource up for good once a restarting server answers 503.
 */
export function followStatus({ onStatus, onReachable }) {
  let source = null;
  let failures = 0;
  let timer = 0;

  function connect() {
    clearTimeout(timer);
    source?.close();
    source = new EventSource(`${BASE}/events`);
    source.addEventListener("open", () => {
      failures = 0;
      onReachable(true);
    });
    source.addEventListener("status", (event) => onStatus(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      source.close();
      onReachable(false);
      failures += 1;
      timer = setTimeout(connect, Math.min(4000, 250 * 2 ** failures));
    });
  }

  connect();
  addEventListener("online", connect);
  return {
    reconnect: connect,
    stop() {
      clearTimeout(timer);
      source?.close();
      removeEventListener("online", connect);
    },
  };
}
