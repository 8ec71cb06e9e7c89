/** The labelling page: wires deck, player, outbox and status to the document. */

import * as api from "./api.js";
import { Pair, Player } from "./clips.js";
import { Deck } from "./deck.js";
import { listen } from "./keys.js";
import { Outbox } from "./outbox.js";
import { plural, statusLine, waitingWords } from "./words.js";

const DEAD_MS = 250; // after a swap, so that a double press cannot answer an unseen pair
const AWAY_MS = 120_000;
const PACE_WINDOW_MS = 300_000;
const KEPT = 5; // answers whose clips stay in memory, for an undo that is there at once
const USUAL_FPS = 15; // until the run has a clip to tell
const RATES = [0.25, 0.5, 1, 2];
const SAID = { left: "left", right: "right", tie: "about the same", skip: "can't tell" };
const WELCOMED = "pairplay/welcomed";

const $ = (id) => document.getElementById(id);
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
      onChange: () => this.paintTransport(),
      onProgress: (share) => $("playhead").style.setProperty("transform", `scaleX(${share})`),
    });
    this.outbox = new Outbox(`${run.env_id}/${run.run_name}`, {
      onSent: (item, receipt) => this.sent(item, receipt),
      onRefused: (item, error) => this.refused(item, error),
      onUnauthorised: () => showGate(),
      onChange: () => this.paintUnsent(),
    });
    this.taken = this.outbox.answeredIds();
    this.deck = new Deck({
      isTaken: (id) => this.taken.has(id),
      unsentIds: () => this.outbox.answeredIds(),
      onReady: () => this.deck.current ?? this.swap(),
      onBroken: () => this.notice("A clip could not be loaded; its pair was put aside."),
      onRefused: (error) => (error.status === 401 ? showGate() : this.notice(error.message)),
    });
  }

  begin() {
    this.ask(this.run.question);
    document.title = `${this.run.env_id} · Pairplay`;
    $("welcome").hidden = localStorage.getItem(WELCOMED) !== null;
    this.bind();
    this.swap();
    this.outbox.hurry();
    this.recall();
    this.stream = api.followStatus({
      onStatus: (status) => {
        this.status = status;
        this.paintStatus();
        if (status.counts.pending > 0) this.deck.fill();
      },
      onReachable: (reachable) => this.setReachable(reachable),
    });
    setInterval(() => this.paintStatus(), 5000);
  }

  bind() {
    for (const button of document.querySelectorAll("[data-answer]")) {
      button.addEventListener("click", (event) => {
        if (event.detail > 0) button.blur(); // a mouse click must not turn Space into "the same again"
        this.answer(button.dataset.answer);
      });
    }
    $("pair").addEventListener("click", (event) => {
      const clip = event.target.closest(".clip");
      if (clip) this.answer(clip.dataset.answer);
    });
    const buttons = {
      undo: () => this.undo(),
      play: () => this.player.toggle(),
      "replay-button": () => this.player.replay(),
      "frame-back": () => this.player.step(-1),
      "frame-forward": () => this.player.step(1),
      speed: () => this.setSpeed(1, true),
      "help-open": () => $("help").showModal(),
      "welcome-close": () => this.welcomed(),
    };
    for (const [id, act] of Object.entries(buttons)) {
      $(id).addEventListener("click", (event) => {
        if (event.detail > 0) $(id).blur();
        act();
      });
    }
    listen({
      left: () => this.answer("left"),
      right: () => this.answer("right"),
      tie: () => this.answer("tie"),
      skip: () => this.answer("skip"),
      undo: () => this.undo(),
      toggle: () => this.player.toggle(),
      replay: () => this.player.replay(),
      back: () => this.player.step(-1),
      forward: () => this.player.step(1),
      slower: () => this.setSpeed(-1),
      faster: () => this.setSpeed(1),
      help: () => $("help").showModal(),
    });
    still.addEventListener("change", () => {
      this.player.loop = !still.matches;
      if (still.matches) this.player.pause();
    });
  }

  ask(question) {
    if ($("question").textContent === question) return;
    $("question").textContent = question;
    $("eyebrow").hidden = question.trim().endsWith("?");
  }

  /** Put the next pair on the screen, or the reason why there is none. */
  swap(pair = this.deck.next()) {
    if (!pair) {
      this.player.clear();
      $("pair").removeAttribute("data-query-id");
      this.shownAt = null;
      this.acceptFrom = Infinity;
      this.paintStatus();
      return;
    }
    document.body.dataset.view = "pair";
    $("pair").hidden = false;
    $("waiting").hidden = true;
    this.player.show(pair);
    $("pair").dataset.queryId = pair.id;
    this.ask(pair.query.question);
    this.shownAt = new Date();
    this.acceptFrom = performance.now() + DEAD_MS;
  }

  answer(answer) {
    const pair = this.deck.current;
    if (!pair || performance.now() < this.acceptFrom) return;
    const uuid = crypto.randomUUID();
    const body = { answer, client_uuid: uuid, shown_at: this.shownAt.toISOString(), answered_at: new Date().toISOString() };
    this.taken.add(pair.id);
    this.swap();
    this.flash(answer);
    this.history.push({ uuid, queryId: pair.id, answer, pair, pictures: pair.still() });
    this.forget();
    this.session += 1;
    this.times.push(Date.now());
    this.outbox.answer(pair.id, body);
    this.say("");
    this.welcomed();
    this.active();
    this.paintHistory();
  }

  undo() {
    const entry = this.history.pop();
    if (!entry) return;
    this.taken.delete(entry.queryId);
    this.session = Math.max(0, this.session - (entry.recalled ? 0 : 1));
    this.times.pop();
    this.outbox.undo(entry.queryId, entry.uuid);
    if (entry.pair) {
      this.deck.bringBack(entry.pair);
      this.swap(entry.pair);
      this.flash("undo");
      this.say(`Taken back: ${SAID[entry.answer]}.`);
    } else {
      this.notice("Bringing the pair back…");
    }
    this.active();
    this.paintHistory();
  }

  /** Free the clips of answers that an undo will hardly reach. */
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
      this.history.unshift({ uuid, queryId, answer, recalled: true, pictures: [left, right].map(stillOf) });
    }
    this.paintHistory();
  }

  sent(item, receipt) {
    if (item.kind === "answer") {
      this.say(`Saved: ${SAID[item.body.answer]}. ${plural(receipt.answered, "answer")}`);
      return;
    }
    // Undone in an earlier life of this page: its clips are gone and come again from the server.
    if (receipt.query && !this.deck.ids.includes(item.queryId) && !this.taken.has(item.queryId)) this.deck.bringBackQuery(receipt.query);
    this.notice("");
  }

  refused(item, error) {
    if (item.kind === "undo") {
      this.notice("That answer can no longer be taken back.");
    } else if (error.status === 409) {
      this.notice("That pair had been answered already; on to the next.");
    } else {
      this.notice(`One answer was refused: ${error.message}`);
    }
    const known = this.history.find((entry) => entry.uuid === item.uuid);
    known?.pair?.dispose();
    this.history = this.history.filter((entry) => entry !== known);
    this.paintHistory();
  }

  setReachable(reachable) {
    const back = reachable && !this.reachable;
    this.reachable = reachable;
    if (back) {
      this.outbox.hurry();
      this.deck.fill();
    }
    if (!reachable) api.getStatus().catch((error) => error.status === 401 && showGate());
    this.paintStatus();
  }

  active() {
    this.lastActive = performance.now();
    this.paintFigures();
  }

  welcomed() {
    $("welcome").hidden = true;
    localStorage.setItem(WELCOMED, "1");
  }

  setSpeed(direction, around = false) {
    const index = RATES.indexOf(this.player.rate) + direction;
    const wrapped = around ? (index + RATES.length) % RATES.length : Math.min(RATES.length - 1, Math.max(0, index));
    this.player.setRate(RATES[wrapped]);
  }

  flash(answer) {
    const button = answer === "undo" ? $("undo") : document.querySelector(`.answer[data-answer="${answer}"]`);
    button.classList.remove("pressed");
    void button.offsetWidth; // restarts the animation
    button.classList.add("pressed");
  }

  say(text) {
    $("saved").textContent = text;
  }

  notice(text) {
    $("notice").textContent = text;
  }

  paintUnsent() {
    const { waiting, failures } = this.outbox;
    $("unsent").textContent = waiting > 0 && failures > 0 ? `${plural(waiting, "answer")} waiting to be sent` : "";
  }

  paintTransport() {
    const { playing, rate } = this.player;
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    $("play").querySelector("use").setAttribute("href", playing ? "#icon-pause" : "#icon-play");
    document.body.classList.toggle("paused", !playing);
    $("speed").textContent = `${rate}×`.replace("0.25", "¼").replace("0.5", "½");
    $("speed").setAttribute("aria-label", `Speed: ${rate === 1 ? "normal" : `${rate} times`}`);
  }

  paintHistory() {
    $("undo").disabled = this.history.length === 0;
    $("recent").replaceChildren(
      ...this.history.toReversed().map(({ answer, pictures }) => {
        const item = document.createElement("li");
        item.dataset.chosen = answer;
        item.append(...pictures, Object.assign(document.createElement("span"), { textContent: SAID[answer] }));
        return item;
      }),
    );
  }

  paintFigures() {
    $("session-count").textContent = this.session;
    const recent = this.times.filter((time) => time > Date.now() - PACE_WINDOW_MS).slice(-21);
    const minutes = (recent.at(-1) - recent[0]) / 60_000;
    $("pace").textContent = recent.length >= 4 && minutes > 0 ? Math.round((recent.length - 1) / minutes) : "–";
    if (!this.status) return;
    const { counts } = this.status;
    $("depth").textContent = counts.pending + this.deck.ids.length;
    $("budget").max = this.run.labels_budget;
    $("budget").value = counts.answered;
    $("budget-text").textContent = `${counts.answered} of ${plural(this.run.labels_budget, "answer")}`;
  }

  paintStatus() {
    const facts = {
      status: this.status,
      reachable: this.reachable,
      away: performance.now() - this.lastActive > AWAY_MS,
      labelsBudget: this.run.labels_budget,
      runName: this.run.run_name,
      loading: this.deck.loading && (this.status?.counts.pending ?? 1) > 0,
    };
    const { tone, text } = statusLine(facts);
    $("status").dataset.tone = tone;
    $("status-text").textContent = text;
    this.paintFigures();
    if (this.deck.current) return;
    document.body.dataset.view = "waiting";
    $("pair").hidden = true;
    $("waiting").hidden = false;
    const words = waitingWords(facts);
    if ($("waiting-title").textContent !== words.title) $("waiting-title").textContent = words.title;
    if ($("waiting-text").textContent !== words.text) $("waiting-text").textContent = words.text;
  }
}

/** A still of a clip that is not in memory, from the server. */
function stillOf(clip) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, preload: "metadata", src: clip.url, tabIndex: -1 });
  video.setAttribute("aria-hidden", "true");
  return video;
}

function showGate() {
  document.body.dataset.view = "gate";
  $("gate").hidden = false;
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
        showGate();
        return;
      }
      if (!(error instanceof api.Refused || error instanceof api.Unreachable)) throw error;
      $("status").dataset.tone = "lost";
      $("status-text").textContent = "Label server unreachable, trying again.";
      await new Promise((resolve) => setTimeout(resolve, Math.min(4000, 500 * 2 ** failures)));
    }
  }
}

addEventListener("hashchange", () => {
  if (location.hash.includes("token=")) location.reload();
});
start();
