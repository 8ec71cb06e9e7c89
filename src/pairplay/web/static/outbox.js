/**
 * Answers and undos on their way to the server, in order, kept in the browser's storage until the server has them.
 * Each item has its own storage key, so that two tabs never overwrite each other's; sending one twice is harmless,
 * because the server knows it by its client uuid.
 */

import { postAnswer, postUndo, Refused, Unreachable } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

export class Outbox {
  /**
   * `scope` names the run: query numbers mean nothing in another run served later at the same address.
   * `onSent(item, receipt)`, `onRefused(item, error)`, `onUnauthorised()`, `onChange(outbox)`.
   */
  constructor(scope, { onSent, onRefused, onUnauthorised, onChange }) {
    this.prefix = `pairplay/${scope}/outbox/`;
    Object.assign(this, { onSent, onRefused, onUnauthorised, onChange });
    this.items = Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix))
      .sort()
      .map((key) => ({ ...JSON.parse(localStorage.getItem(key)), key }));
    this.sequence = 0;
    this.failures = 0;
    this.sending = false;
    this.timer = 0;
  }

  /** How many answers the server may not have yet. */
  get unsent() {
    return this.items.filter((item) => item.kind === "answer").length;
  }

  /** Queries answered here whose answer the server may not have yet. */
  answeredIds() {
    const ids = new Set();
    for (const { kind, queryId } of this.items) {
      if (kind === "answer") ids.add(queryId);
      else ids.delete(queryId);
    }
    return ids;
  }

  answer(queryId, body) {
    this.add({ kind: "answer", queryId, uuid: body.client_uuid, body });
  }

  /** Take an answer back. One that was never sent is forgotten here; then the undo needs no server at all. */
  undo(queryId, uuid) {
    const unsent = this.items.find((item) => item.kind === "answer" && item.uuid === uuid && !item.tried);
    if (unsent) this.remove(unsent);
    else this.add({ kind: "undo", queryId, uuid });
  }

  add(item) {
    this.sequence += 1;
    item.key = `${this.prefix}${Date.now()}-${String(this.sequence).padStart(6, "0")}`;
    this.items.push(item);
    this.store(item);
    this.onChange(this);
    this.send();
  }

  store(item) {
    try {
      localStorage.setItem(item.key, JSON.stringify(item));
    } catch {
      // Storage full or forbidden: the item still waits in memory and is sent from there.
    }
  }

  remove(item) {
    this.items = this.items.filter((other) => other !== item);
    localStorage.removeItem(item.key);
    this.onChange(this);
  }

  /** Try at once, for example because the server is back. */
  hurry() {
    this.failures = 0;
    clearTimeout(this.timer);
    this.send();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    clearTimeout(this.timer);
    try {
      while (this.items.length > 0) {
        const item = this.items[0];
        if (!item.tried) {
          item.tried = true; // from here on the server may have it, whatever we hear
          this.store(item);
        }
        const receipt = await this.deliver(item);
        if (receipt === undefined) break;
        this.failures = 0;
        this.remove(item);
        if (receipt !== null) this.onSent(item, receipt);
      }
    } finally {
      this.sending = false;
    }
  }

  /** The receipt; null if the server will never take the item; undefined if it must wait. */
  async deliver(item) {
    try {
      return item.kind === "answer" ? await postAnswer(item.queryId, item.body) : await postUndo(item.uuid);
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        this.onUnauthorised();
        return undefined;
      }
      if (error instanceof Refused && !error.temporary) {
        this.onRefused(item, error);
        return null;
      }
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      this.failures += 1;
      this.timer = setTimeout(() => this.send(), Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.failures - 1)));
      this.onChange(this);
      return undefined;
    }
  }
}
