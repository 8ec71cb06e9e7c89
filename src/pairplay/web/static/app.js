/** The labelling page: wires deck, player, outbox and status to the document. */

import * as api from "./api.js";
import { Pair, Player } from "./clips.js";
import { Deck } from "./deck.js";
import { listen } from "./keys.js";
import { Outbox } from "./outbox.js";
import * as view from "./view.js";
import { plural, statusLine, trainersWord, waitingWords } from "./words.js";

const { $, SAID } = view;

const DEAD_MS = 250; // after a swap, so that a double press cannot answer an unseen pair
const AWAY_MS = 120_000;
const USUAL_FPS = 15; // until the run has a clip to tell
const KEPT = 5; // answers whose clips stay in memory, for an undo that is there at once
const RATES = [0.25, 0.5, 1, 2];
const REFUSALS = {
  already_answered: "That pair had been answered already; on to the next.",
  leased_by_other: "That pair is with somebody else by now; on to the next.",
};
const WELCOMED = "pairplay/welcomed";

const still = matchMedia("(prefers-reduced-motion: reduce)");

class Page {
  constructor(run) {
    this.run = run;
    this.status = null;
    this.reachable = true;
    this.shownAt = null;
    this.acceptFrom = Infinity;
    this.history = []; // this person's last answers, oldest first
    this.session = 0;
    this.times = [];
    this.lastActive = performance.now();

    this.player = new Player($("pair"), {
      clipFps: run.clip_fps ?? USUAL_FPS,
      television: run.env_id.startsWith("ALE/"),
      loop: !still.matches,
      onChange: view.paintTransport,
      onProgress: (share) => $("playhead").style.setProperty("transform", `scaleX(${share})`),
    });
    this.outbox = new Outbox(`${run.env_id}/${run.run_name}`, {
      onSent: (item, receipt) => this.sent(item, receipt),
      onRefused: (item, error) => this.refused(item, error),
      onUnauthorised: view.showGate,
      onChange: view.paintUnsent,
    });
    this.taken = this.outbox.answeredIds();
    this.deck = new Deck({
      isTaken: (id) => this.taken.has(id),
      unsentIds: () => this.outbox.answeredIds(),
      onReady: () => this.deck.current ?? this.swap(),
      onBroken: () => view.notice("A clip could not be loaded; its pair was put aside."),
      onRefused: (error) => (error.status === 401 ? view.showGate() : view.notice(error.message)),
    });
  }

  begin() {
    view.paintQuestion(this.run.question);
    document.title = `${this.run.env_id} · Pairplay`;
    $("welcome").hidden = localStorage.getItem(WELCOMED) !== null;
    this.bind();
    this.swap();
    this.outbox.hurry();
    this.recall();
    api.followStatus({
      onStatus: (status) => {
        this.status = status;
        this.paint();
        if (status.counts.pending > 0) this.deck.fill();
      },
      onReachable: (reachable) => this.setReachable(reachable),
    });
    setInterval(() => this.paint(), 5000);
  }

  bind() {
    const onClick = (element, act) =>
      element.addEventListener("click", (event) => {
        if (event.detail > 0) element.blur(); // a mouse click must not turn Space into "the same again"
        act(event);
      });
    for (const button of document.querySelectorAll("button[data-answer]")) {
      onClick(button, () => this.answer(button.dataset.answer));
    }
    onClick($("pair"), (event) => {
      const clip = event.target.closest(".clip");
      if (clip) this.answer(clip.dataset.answer);
    });
    const actions = {
      undo: () => this.undo(),
      toggle: () => this.player.toggle(),
      replay: () => this.player.replay(),
      back: () => this.player.step(-1),
      forward: () => this.player.step(1),
      slower: () => this.setSpeed(-1),
      faster: () => this.setSpeed(1),
      help: () => $("help").showModal(),
    };
    onClick($("undo"), actions.undo);
    onClick($("play"), actions.toggle);
    onClick($("replay"), actions.replay);
    onClick($("frame-back"), actions.back);
    onClick($("frame-forward"), actions.forward);
    onClick($("speed"), () => this.setSpeed(1, { around: true }));
    onClick($("help-open"), actions.help);
    onClick($("welcome-close"), () => this.welcomed());
    const answers = Object.fromEntries(Object.keys(SAID).map((answer) => [answer, () => this.answer(answer)]));
    listen({ ...answers, ...actions });
    still.addEventListener("change", () => {
      this.player.loop = !still.matches;
      if (still.matches) this.player.pause();
    });
  }

  /** Put the next pair on the screen, or the reason why there is none. */
  swap(pair = this.deck.next()) {
    if (!pair) {
      this.player.clear();
      $("pair").removeAttribute("data-query-id");
      this.acceptFrom = Infinity;
      this.paint();
      return;
    }
    view.paintPair();
    this.player.show(pair);
    $("pair").dataset.queryId = pair.id;
    view.paintQuestion(pair.query.question);
    this.shownAt = new Date();
    this.acceptFrom = performance.now() + DEAD_MS;
    if (!this.run.clip_fps) this.learnRate();
  }

  answer(answer) {
    const pair = this.deck.current;
    if (!pair || view.isGated() || performance.now() < this.acceptFrom) return;
    const answeredAt = new Date();
    const uuid = crypto.randomUUID();
    this.taken.add(pair.id);
    this.outbox.answer(pair.id, {
      answer,
      client_uuid: uuid,
      shown_at: this.shownAt.toISOString(),
      answered_at: answeredAt.toISOString(),
    });
    this.swap();
    view.flash(answer);
    view.say("");
    view.notice("");
    this.history.push({ uuid, queryId: pair.id, answer, pair, pictures: pair.still() });
    this.forget();
    this.session += 1;
    this.times.push(answeredAt.getTime());
    this.welcomed();
    this.active();
  }

  undo() {
    const entry = this.history.pop();
    if (!entry || view.isGated()) return;
    this.taken.delete(entry.queryId);
    this.outbox.undo(entry.queryId, entry.uuid);
    if (entry.pair) {
      this.session -= 1;
      this.times.pop();
      this.deck.bringBack(entry.pair);
      this.swap(entry.pair);
      view.flash("undo");
      view.say(`Taken back: ${SAID[entry.answer]}.`);
    } else {
      view.notice("Bringing the pair back…");
    }
    this.active();
  }

  /** Free the clips of answers that are too old to be kept at hand. */
  forget() {
    for (const entry of this.history.slice(0, -KEPT)) entry.pair?.dispose();
    this.history = this.history.slice(-KEPT);
  }

  /** After a reload: the last answers of this person, as the server has them. */
  async recall() {
    let answers;
    try {
      ({ answers } = await api.recentAnswers(KEPT));
    } catch {
      return; // only a convenience: without it the list starts empty
    }
    const known = new Set(this.history.map((entry) => entry.uuid));
    for (const { client_uuid: uuid, query_id: queryId, answer, left, right } of answers) {
      if (known.has(uuid) || this.history.length >= KEPT) continue;
      this.history.unshift({ uuid, queryId, answer, pair: null, pictures: [left, right].map(view.stillOf) });
    }
    view.paintHistory(this.history);
  }

  /** The page was opened before the run had a clip to take the frame rate from. */
  async learnRate() {
    try {
      this.run = await api.getRun();
      this.player.frame_s = 1 / (this.run.clip_fps ?? USUAL_FPS);
    } catch {
      // The next pair asks again.
    }
  }

  sent(item, receipt) {
    if (item.kind === "answer") {
      view.say(`Saved: ${SAID[item.body.answer]}. ${plural(receipt.answered, "answer")}`);
    } else if (receipt.query && !this.deck.ids.includes(item.queryId) && !this.taken.has(item.queryId)) {
      this.bringBack(receipt.query);
    }
  }

  /** Show a pair again that was answered in an earlier life of this page: its clips come from the server. */
  bringBack(query) {
    const pair = new Pair(query);
    pair.ready.then(
      () => {
        if (this.deck.current?.id === pair.id) return pair.dispose();
        this.deck.bringBack(pair);
        this.swap(pair);
        return view.notice("");
      },
      () => view.notice("The clips of that pair could not be loaded again."),
    );
  }

  refused(item, error) {
    if (item.kind === "undo") {
      view.notice("That answer can no longer be taken back.");
      return;
    }
    view.notice(REFUSALS[error.code] ?? `One answer was refused: ${error.message}`);
    const entry = this.history.find(({ uuid }) => uuid === item.uuid);
    if (!entry) return;
    entry.pair?.dispose();
    this.history = this.history.filter((other) => other !== entry);
    this.session -= 1;
    this.active();
  }

  setReachable(reachable) {
    const isBack = reachable && !this.reachable;
    this.reachable = reachable;
    if (isBack) {
      this.outbox.hurry();
      this.deck.fill();
    }
    // The stream does not say why it broke: the server may be gone, or may not know us any more.
    if (!reachable) api.getStatus().catch((error) => error.status === 401 && view.showGate());
    this.paint();
  }

  active() {
    this.lastActive = performance.now();
    view.paintHistory(this.history);
    this.paint();
  }

  welcomed() {
    $("welcome").hidden = true;
    localStorage.setItem(WELCOMED, "1");
  }

  setSpeed(direction, { around = false } = {}) {
    const index = RATES.indexOf(this.player.rate) + direction;
    const last = RATES.length - 1;
    this.player.setRate(RATES[around ? (index + RATES.length) % RATES.length : Math.min(last, Math.max(0, index))]);
  }

  paint() {
    const facts = {
      status: this.status,
      reachable: this.reachable,
      away: performance.now() - this.lastActive > AWAY_MS,
      labelsBudget: this.status?.progress?.labels_budget ?? this.run.labels_budget,
      runName: this.run.run_name,
      broken: this.deck.broken.size,
      loading: this.deck.loading && (this.status?.counts.pending ?? 1) > 0,
      session: this.session,
      times: this.times,
      inHand: this.deck.ids.length,
    };
    view.paintStatusLine(statusLine(facts));
    view.paintWord(trainersWord(facts));
    view.paintFigures(facts);
    if (!this.deck.current) view.paintWaiting(waitingWords(facts));
  }
}

/** The link's secret, taken out of the address bar and the browser's history at once. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

async function start() {
  let token = takeToken();
  for (let failures = 0; ; failures += 1) {
    try {
      if (token) await api.openSession(token);
      token = null; // exchanged for a cookie
      new Page(await api.getRun()).begin();
      return;
    } catch (error) {
      if (error instanceof api.Refused && !error.temporary) {
        view.showGate();
        return;
      }
      if (!(error instanceof api.Refused || error instanceof api.Unreachable)) throw error;
      view.paintStatusLine(statusLine({ reachable: false }));
      await new Promise((resolve) => setTimeout(resolve, Math.min(4000, 500 * 2 ** failures)));
    }
  }
}

// The right link, pasted into this tab, changes only the fragment.
addEventListener("hashchange", () => {
  if (location.hash.includes("token=")) location.reload();
});
start();
