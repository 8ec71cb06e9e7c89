/** The pairs in hand: leased, loaded and decoded ahead of the one on the screen. Knows no page. */

import { lease, Refused, Unreachable } from "./api.js";
import { Pair } from "./clips.js";

const AHEAD = 3; // decoded pairs behind the one on the screen
const RENEW_MS = 40_000; // a lease lasts 120 s: one lost renewal does no harm
const MOST_HELD = 20; // as many as the server lets one page name
const RETRY_MS = 1500;

export class Deck {
  /**
   * `isTaken(id)`: this person has answered it already; `unsentIds()`: those of which the server may not know yet.
   * `onReady()` when a pair became playable; `onBroken(pair)` when one cannot be shown; `onRefused(error)`.
   */
  constructor({ isTaken, unsentIds, onReady, onBroken, onRefused }) {
    Object.assign(this, { isTaken, unsentIds, onReady, onBroken, onRefused });
    this.current = null;
    this.ahead = [];
    this.broken = new Set();
    this.leasing = false;
    this.again = false;
    setInterval(() => this.renew(), RENEW_MS);
    document.addEventListener("visibilitychange", () => this.renew());
  }

  /** True while a pair is on its way. */
  get loading() {
    return this.leasing || this.ahead.some((pair) => !pair.isReady);
  }

  /** Take the next playable pair off the deck, or null. */
  next() {
    const index = this.ahead.findIndex((pair) => pair.isReady);
    this.current = index < 0 ? null : this.ahead.splice(index, 1)[0];
    this.fill();
    return this.current;
  }

  /** Bring a pair back to the screen (undo); what was there comes next. */
  bringBack(pair) {
    this.drop(pair.id); // the server may have leased it to us again meanwhile
    if (this.current) this.ahead.unshift(this.current);
    this.current = pair;
  }

  drop(id) {
    for (const pair of this.ahead.filter((other) => other.id === id)) pair.dispose();
    this.ahead = this.ahead.filter((pair) => pair.id !== id);
  }

  load(query) {
    const pair = new Pair(query);
    this.ahead.push(pair);
    pair.ready.then(
      () => this.onReady(),
      (error) => {
        if (!this.ahead.includes(pair)) return; // dropped while it was loading
        this.drop(pair.id);
        if (error instanceof Unreachable) {
          setTimeout(() => this.fill(), RETRY_MS);
        } else {
          this.broken.add(pair.id);
          this.onBroken(pair);
          this.fill();
        }
      },
    );
  }

  /** Ids of the pairs in hand, the shown one first. */
  get ids() {
    return [this.current, ...this.ahead].filter(Boolean).map((pair) => pair.id);
  }

  /** Ask the server for pairs until enough are in hand or it has none. */
  async fill() {
    const missing = (this.current ? AHEAD : AHEAD + 1) - this.ahead.length;
    if (missing <= 0 || document.hidden) return;
    if (this.leasing) {
      this.again = true;
      return;
    }
    await this.ask(missing);
  }

  /** Tell the server that a person is still looking. */
  async renew() {
    if (document.hidden || this.leasing) return;
    await this.ask(AHEAD - this.ahead.length);
  }

  async ask(missing) {
    this.leasing = true;
    this.again = false;
    // Everything that is ours is named, so that `limit` counts new pairs only. It is at least 1: when no pair is
    // missing we leave out one of ours, and get that one.
    const limit = Math.max(1, missing);
    const held = [...new Set([...this.ids, ...this.unsentIds(), ...this.broken])].slice(missing > 0 ? 0 : 1).slice(0, MOST_HELD);
    try {
      const reply = await lease(limit, held);
      // After a long absence others may have taken what was ours.
      for (const id of held.filter((other) => !reply.held.includes(other))) this.drop(id);
      for (const query of reply.queries) {
        if (this.ids.includes(query.id) || this.broken.has(query.id) || this.isTaken(query.id)) continue;
        this.load(query);
      }
    } catch (error) {
      if (error instanceof Refused && !error.temporary) this.onRefused(error);
      else if (error instanceof Refused || error instanceof Unreachable) setTimeout(() => this.fill(), RETRY_MS);
      else throw error;
    } finally {
      this.leasing = false;
    }
    if (this.again) this.fill();
  }
}
