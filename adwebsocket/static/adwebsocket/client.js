// Keeps a WebSocket open, and the messages of groups whole. docs/javascript.md tells how to use it.

/**
 * @typedef {string | Uint8Array} Message Text, or the bytes of a binary message.
 *
 * @callback OnMessage
 * @param {Message} message
 * @param {string} [group] The group that it was sent to; undefined for what a view sends itself.
 * @param {string | null} [position] Its place in the group's history, null without one.
 *
 * @typedef {object} Options
 * @property {OnMessage} [onmessage] Takes the messages of groups that are not in `groups`.
 * @property {Record<string, OnMessage>} [groups] Take the messages of single groups.
 * @property {() => void} [onopen] A connection is there; what this sends goes ahead of the queue.
 * @property {(event: CloseEvent, delay: number | null) => void} [onclose] A connection has ended;
 *   the next try is in `delay` ms, null for never.
 * @property {(group: string) => void} [onjoin] The first time in a group: load what it shows.
 * @property {(group: string) => void} [ongap] Messages of a group may be missing: load it anew.
 * @property {Record<string, string>} [positions] From which to go on, by group.
 * @property {string | string[]} [protocols] Subprotocols to offer.
 * @property {number[]} [final] Close codes that end it for good, in place of `FINAL_CODES`.
 * @property {number} [queue] How many sends wait for a connection: 100.
 * @property {number} [base] Longest delay before the first try in ms: 500.
 * @property {number} [cap] Longest delay of all in ms: 30,000.
 * @property {number} [stable] How long a connection must last to count as no failure, in ms: 5,000.
 * @property {number} [timeout] Time for a handshake in ms: 20,000.
 */

/** Codes of servers that do not want to see this client again. */
export const FINAL_CODES = [1000, 1003, 1008, 4400, 4401, 4403, 4404];

// What the server makes of a message for a member with positions=True, and tells such a member.
const WRAPPED = /^{"group":"[^"]+","position":(null|"[^"]+"),"(message|base64|recovered|gap)":/;

/**
 * Choose the delay before a try: random, so that clients that were cut together come apart.
 *
 * @param {number} failures
 */
export const backoff = (failures, base = 500, cap = 30_000) =>
  Math.random() * Math.min(cap, base * 2 ** failures);

/**
 * Open a connection that comes back by itself until it is closed.
 *
 * @param {string | URL} url Relative to the page; http(s) becomes ws(s).
 * @param {Options} [options]
 */
export const connect = (url, options) => new Connection(url, options);

/** What `connect` gives. Handlers may be exchanged at any time. */
export class Connection {
  #url;
  #options;
  /** @type {WebSocket} */
  #socket;
  /** @type {(string | BufferSource | Blob)[]} */
  #queue = [];
  #failures = 0;
  #timer = 0;
  #isAway = false;
  #ended = new AbortController();

  /**
   * @param {string | URL} url
   * @param {Options} options
   */
  constructor(url, options = {}) {
    this.#url = url;
    this.#options = options;
    this.onmessage = options.onmessage;
    this.onopen = options.onopen;
    this.onclose = options.onclose;
    this.onjoin = options.onjoin;
    this.ongap = options.ongap;
    this.groups = new Map(Object.entries(options.groups ?? {}));
    /** @type {Map<string, string | null>} The last position that was seen of each group. */
    this.positions = new Map(Object.entries(options.positions ?? {}));
    this.#socket = this.#connect();

    const { signal } = this.#ended;
    const wake = () => {
      if (this.#socket.readyState === WebSocket.CLOSED) this.#connect();
    };
    addEventListener("online", wake, { signal });
    // A worker has no document.
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || wake(), {
      signal,
    });
    // A page that is kept for the back button must not pass for present.
    const leave = () => {
      this.#isAway = true;
      this.#socket.close();
    };
    addEventListener("pagehide", leave, { signal });
  }

  /**
   * Send a message now, or when there is a connection again.
   *
   * @param {string | BufferSource | Blob} message
   * @returns {boolean} Whether it is on its way or waits; false where the queue is full or all over.
   */
  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(message);
      return true;
    }
    if (this.#ended.signal.aborted || this.#queue.length >= (this.#options.queue ?? 100)) {
      return false;
    }
    this.#queue.push(message);
    return true;
  }

  /**
   * Send a value as JSON; see `send`.
   *
   * @param {unknown} value
   */
  sendJSON(value) {
    return this.send(JSON.stringify(value));
  }

  /** Close for good. What waits is dropped, and no message comes any more. */
  close(code = 1000, reason = "") {
    this.#socket.close(code, reason);
    this.#end();
  }

  #end() {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #connect() {
    const { base, cap, final = FINAL_CODES, protocols, stable = 5000, timeout } = this.#options;
    const url = new URL(this.#url, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [group, position] of this.positions) {
      if (position) url.searchParams.set(`since.${group}`, position);
    }
    const socket = (this.#socket = new WebSocket(url, protocols));
    let stableAt = Infinity;
    this.#isAway = false;
    socket.binaryType = "arraybuffer";
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => socket.close(), timeout ?? 20_000);

    socket.onopen = () => {
      clearTimeout(this.#timer);
      stableAt = performance.now() + stable;
      try {
        this.onopen?.();
      } finally {
        for (const message of this.#queue.splice(0)) this.send(message);
      }
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = (event) => {
      let delay = null;
      // A server may answer 1000 to a page that only hides.
      if (this.#ended.signal.aborted || (final.includes(event.code) && !this.#isAway)) {
        this.#end();
      } else {
        if (performance.now() >= stableAt) this.#failures = 0;
        delay = backoff(this.#failures++, base, cap);
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#connect(), delay);
      }
      this.onclose?.(event, delay);
    };
    return socket;
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (typeof data !== "string" || !WRAPPED.test(data)) {
      this.onmessage?.(typeof data === "string" ? data : new Uint8Array(data));
      return;
    }
    const { group, position, message, base64, recovered, gap } = JSON.parse(data);
    const last = this.positions.get(group);
    if (gap) {
      this.ongap?.(group);
    } else if (recovered !== undefined) {
      // The messages that were recovered follow, and lead to this position.
      this.positions.set(group, recovered ? (last ?? null) : position);
      if (last === undefined) {
        this.onjoin?.(group);
      } else if (!recovered) {
        this.ongap?.(group);
      }
    } else if (!isSeen(position, last)) {
      if (position) this.positions.set(group, position);
      const body = message ?? Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0));
      (this.groups.get(group) ?? this.onmessage)?.(body, group, position);
    }
  }
}

/**
 * Tell whether a message is no later than the last one: positions are "epoch-offset".
 *
 * @param {string | null} position
 * @param {string | null} [last]
 */
function isSeen(position, last) {
  if (!position || !last) return false;
  const start = position.lastIndexOf("-") + 1;
  return (
    last.lastIndexOf("-") + 1 === start &&
    last.startsWith(position.slice(0, start)) &&
    Number(position.slice(start)) <= Number(last.slice(start))
  );
}
