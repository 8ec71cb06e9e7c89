/** Two clips: loaded and decoded ahead, shown side by side, played in step. Knows no server beyond a clip's address. */

import { fetchClip } from "./api.js";

const HOLD_MS = 600; // the last picture stays a moment before the loop starts again
const DECODE_MS = 8000;

function once(target, good, bad, timeout_ms) {
  return new Promise((resolve, reject) => {
    const done = (settle, value) => {
      clearTimeout(timer);
      target.removeEventListener(good, onGood);
      target.removeEventListener(bad, onBad);
      settle(value);
    };
    const onGood = () => done(resolve);
    const onBad = () => done(reject, new Error(target.error?.message || bad));
    const timer = setTimeout(() => done(reject, new Error(`no ${good} in time`)), timeout_ms);
    target.addEventListener(good, onGood);
    target.addEventListener(bad, onBad);
  });
}

class Clip {
  constructor({ url, seconds }, side) {
    this.side = side;
    this.url = url;
    this.seconds = seconds;
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
    this.video.setAttribute("aria-label", `${side === "left" ? "Left" : "Right"} clip`);
  }

  async load() {
    const bytes = await fetchClip(this.url);
    if (this.disposed) throw new Error("no longer wanted");
    this.blobUrl = URL.createObjectURL(bytes);
    const decoded = once(this.video, "canplaythrough", "error", DECODE_MS);
    this.video.src = this.blobUrl;
    await decoded;
  }

  get duration() {
    return this.video.duration || this.seconds || 0;
  }

  get atEnd() {
    return this.video.ended || this.video.currentTime >= this.duration - 0.005;
  }

  seek(time_s) {
    if (Math.abs(this.video.currentTime - time_s) < 1e-4) return Promise.resolve();
    const sought = once(this.video, "seeked", "error", 2000);
    this.video.currentTime = time_s;
    return sought.catch(() => {}); // a clip that cannot seek is better shown late than not at all
  }

  dispose() {
    this.disposed = true;
    this.video.removeAttribute("src");
    this.video.load();
    if (this.blobUrl) URL.revokeObjectURL(this.blobUrl);
    this.blobUrl = null;
  }
}

/** One query with both of its clips. `ready` resolves when both can be painted at once, and rejects if one cannot. */
export class Pair {
  constructor(query) {
    this.id = query.id;
    this.query = query;
    this.left = new Clip(query.left, "left");
    this.right = new Clip(query.right, "right");
    this.isReady = false;
    this.ready = Promise.all([this.left.load(), this.right.load()]).then(() => {
      this.isReady = true;
    });
    this.ready.catch(() => {}); // whoever waits for the pair handles it; nobody may be waiting yet
  }

  get clips() {
    return [this.left, this.right];
  }

  /** A small still of both clips as they look now, for the list of last answers. */
  still() {
    return this.clips.map(({ video }) => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [96, 72];
      canvas.getContext("2d").drawImage(video, 0, 0, 96, 72);
      return canvas;
    });
  }

  dispose() {
    for (const clip of this.clips) clip.dispose();
  }
}

/**
 * Plays the shown pair in step: both start together, the one ahead slows down until they agree to a fraction of a frame,
 * the shorter one waits for the longer, both hold, both start again.
 */
export class Player {
  constructor(element, { clipFps, television, loop, onChange, onProgress }) {
    this.element = element;
    this.frame_s = 1 / clipFps;
    this.television = television;
    this.loop = loop;
    this.onChange = onChange;
    this.onProgress = onProgress;
    this.rate = 1;
    this.playing = false;
    this.pair = null;
    this.turn = 0; // counts starts, so that a late promise of an older one changes nothing
    this.endedAt = 0;
    this.raf = 0;
    document.addEventListener("visibilitychange", () => {
      // Browsers pause silent videos in hidden tabs and do not always wake both.
      if (!document.hidden && this.playing) this.replay();
    });
  }

  show(pair) {
    this.stop();
    this.pair = pair;
    this.element.replaceChildren(
      ...pair.clips.map((clip) => {
        const figure = document.createElement("figure");
        figure.className = `clip ${clip.side}`;
        figure.dataset.answer = clip.side;
        figure.append(clip.video);
        return figure;
      }),
    );
    this.fit();
    if (this.loop) this.replay();
    else this.rewind();
  }

  /** Atari's picture, 160 by 210 wide pixels, filled a 4:3 television. Everything else keeps its own shape. */
  fit() {
    const { videoWidth: width, videoHeight: height } = this.pair.left.video;
    const own = width / height || 4 / 3;
    this.element.classList.toggle("television", this.television);
    this.element.style.setProperty("--own-ratio", own);
    this.element.style.setProperty("--ratio", this.television ? 4 / 3 : own);
  }

  clear() {
    this.stop();
    this.pair = null;
    this.element.replaceChildren();
  }

  stop() {
    this.turn += 1;
    cancelAnimationFrame(this.raf);
    this.playing = false;
    for (const clip of this.pair?.clips ?? []) clip.video.pause();
  }

  async rewind() {
    this.stop();
    this.onChange(this);
    await Promise.all(this.pair.clips.map((clip) => clip.seek(0)));
    this.report();
  }

  async replay() {
    if (!this.pair) return;
    this.stop();
    const turn = this.turn;
    this.playing = true;
    this.onChange(this);
    await Promise.all(this.pair.clips.map((clip) => clip.seek(0)));
    if (turn === this.turn) this.start();
  }

  start() {
    this.endedAt = 0;
    this.playing = true;
    for (const clip of this.pair.clips) {
      clip.video.playbackRate = this.rate;
      if (!clip.atEnd) clip.video.play().catch(() => {}); // paused again before it began, or forbidden: the Play button stays
    }
    this.onChange(this);
    cancelAnimationFrame(this.raf);
    this.raf = requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    const [left, right] = this.pair.clips;
    this.report();
    if (left.atEnd && right.atEnd) {
      this.endedAt ||= now;
      if (!this.loop) return this.pause();
      if (now - this.endedAt >= HOLD_MS) return void this.replay();
    } else if (!left.atEnd && !right.atEnd) {
      this.keepInStep(left.video, right.video);
    }
    this.raf = requestAnimationFrame((later) => this.tick(later));
    return undefined;
  }

  keepInStep(left, right) {
    const lead_s = left.currentTime - right.currentTime;
    if (Math.abs(lead_s) > this.frame_s / 4) {
      const [ahead, behind] = lead_s > 0 ? [left, right] : [right, left];
      ahead.playbackRate = this.rate * 0.5;
      behind.playbackRate = this.rate;
    } else if (Math.abs(lead_s) < this.frame_s / 10) {
      left.playbackRate = right.playbackRate = this.rate;
    }
  }

  pause() {
    this.stop();
    this.onChange(this);
  }

  toggle() {
    if (!this.pair) return;
    if (this.playing) this.pause();
    else if (this.pair.clips.every((clip) => clip.atEnd)) this.replay();
    else this.start();
  }

  /** Show the next (1) or previous (-1) frame of both, paused. */
  async step(direction) {
    if (!this.pair) return;
    this.pause();
    const position_s = Math.max(...this.pair.clips.map((clip) => clip.video.currentTime));
    const frame = Math.max(0, Math.floor(position_s / this.frame_s + 1e-3) + direction);
    const middle_s = (frame + 0.5) * this.frame_s; // a frame's middle: no rounding can fall on its neighbour
    await Promise.all(this.pair.clips.map((clip) => clip.seek(Math.min(middle_s, clip.duration - this.frame_s / 2))));
    this.report();
  }

  setRate(rate) {
    this.rate = rate;
    for (const clip of this.pair?.clips ?? []) clip.video.playbackRate = rate;
    this.onChange(this);
  }

  report() {
    const longest_s = Math.max(...this.pair.clips.map((clip) => clip.duration));
    const position_s = Math.max(...this.pair.clips.map((clip) => clip.video.currentTime));
    this.onProgress(longest_s > 0 ? Math.min(1, position_s / longest_s) : 0);
  }
}
