/** Puts facts into the document. Decides nothing and asks nobody. */

import { number, plural } from "./words.js";

const PACE_WINDOW_MS = 300_000;
export const SAID = { left: "left", right: "right", tie: "about the same", skip: "can't tell" };

export const $ = (id) => document.getElementById(id);

const write = (id, text) => {
  if ($(id).textContent !== text) $(id).textContent = text; // an unchanged live region must not be read out again
};

export const say = (text) => write("saved", text);
export const notice = (text) => write("notice", text);
export const paintWord = (text) => write("word", text);

/** The sentence on top; the usual question stands above a goal that is not a question itself. */
export function paintQuestion(question) {
  write("question", question);
  $("eyebrow").hidden = question.trim().endsWith("?");
}

export function paintUnsent({ unsent, failures }) {
  write("unsent", failures > 0 && unsent > 0 ? `${plural(unsent, "answer")} waiting to be sent` : "");
}

export function paintTransport({ playing, rate }) {
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  $("play").querySelector("use").setAttribute("href", playing ? "#icon-pause" : "#icon-play");
  document.body.classList.toggle("paused", !playing);
  write("speed", `${rate}×`.replace("0.25", "¼").replace("0.5", "½"));
  $("speed").setAttribute("aria-label", `Speed: ${rate === 1 ? "normal" : `${rate} times`}`);
}

/** The last answers, newest first: `{answer, pictures}`, where `pictures` are two small elements. */
export function paintHistory(history) {
  $("undo").disabled = history.length === 0;
  const items = [...history].reverse().map(({ answer, pictures }) => {
    const item = document.createElement("li");
    item.dataset.chosen = answer;
    item.append(...pictures, Object.assign(document.createElement("span"), { textContent: SAID[answer] }));
    return item;
  });
  $("recent").replaceChildren(...items);
}

/** A still of a clip that is not in memory, from the server. */
export function stillOf(clip) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, preload: "metadata", src: clip.url, tabIndex: -1 });
  video.setAttribute("aria-hidden", "true");
  return video;
}

/** `times`: when this session's answers were given; `inHand`: pairs on this page. */
export function paintFigures({ times, session, status, inHand, labelsBudget }) {
  write("session-count", number.format(session));
  const recent = times.filter((time) => time > Date.now() - PACE_WINDOW_MS).slice(-21);
  const minutes = (recent.at(-1) - recent[0]) / 60_000;
  write("pace", recent.length >= 4 && minutes > 0 ? String(Math.round((recent.length - 1) / minutes)) : "–");
  if (!status) return;
  write("depth", number.format(status.counts.pending + inHand));
  $("budget").max = Math.max(1, labelsBudget);
  $("budget").value = status.counts.answered;
  write("budget-text", `${number.format(status.counts.answered)} of ${plural(labelsBudget, "answer")}`);
}

export function paintStatusLine({ tone, text }) {
  $("status").dataset.tone = tone;
  write("status-text", text);
}

export function paintWaiting({ title, text }) {
  document.body.dataset.view = "waiting";
  $("pair").hidden = true;
  $("waiting").hidden = false;
  write("waiting-title", title);
  write("waiting-text", text);
}

export function paintPair() {
  document.body.dataset.view = "pair";
  $("pair").hidden = false;
  $("waiting").hidden = true;
}

/** The button answers to its key as it does to the mouse. */
export function flash(answer) {
  const button = answer === "undo" ? $("undo") : document.querySelector(`.answer[data-answer="${answer}"]`);
  button.classList.remove("pressed");
  void button.offsetWidth; // restarts the animation
  button.classList.add("pressed");
}

/** No session: the way in is the link. Nothing else can be done on this page. */
export function showGate() {
  document.body.classList.add("gated");
  $("gate").hidden = false;
}
export const isGated = () => document.body.classList.contains("gated");
