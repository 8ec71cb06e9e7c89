/** What the page says about the run. Pure functions of the server's status; nothing about the model ever goes through here. */

export const number = new Intl.NumberFormat("en");

const PHASES = {
  starting: "The agent is getting ready",
  exploring: "The agent is exploring",
  learning: "The agent is learning from your answers",
  fitting: "The agent is taking in your answers",
  pretraining: "The agent is taking in your answers",
};

const isComplete = (progress) => progress?.phase === "finished" || (progress?.total_timesteps > 0 && progress.step >= progress.total_timesteps);

export const plural = (count, one, many = `${one}s`) => `${number.format(count)} ${count === 1 ? one : many}`;

/** "in about 40 seconds", "in about 3 minutes" */
export function inAbout(seconds) {
  if (seconds < 8) return "in a few seconds";
  if (seconds < 90) return `in about ${Math.ceil(seconds / 10) * 10} seconds`;
  return `in about ${plural(Math.round(seconds / 60), "minute")}`;
}

/** The status line: `{tone: "ok" | "busy" | "off" | "lost", text}`. `away`: nobody has answered for a while. */
export function statusLine({ status, reachable, away, labelsBudget }) {
  if (!reachable) return { tone: "lost", text: "Label server unreachable, trying again. Your answers are kept here." };
  if (!status) return { tone: "busy", text: "Connecting…" };
  const { progress, counts } = status;
  if (isComplete(progress)) return { tone: "off", text: `Training is complete · ${number.format(progress.step)} steps` };
  if (!status.trainer_alive) return { tone: "off", text: "Training is not running; answers are still saved." };
  if (!progress) return { tone: "busy", text: "The agent is getting ready." };
  const doing = away ? "The agent plays on while you are away" : (PHASES[progress.phase] ?? `The agent is ${progress.phase}`);
  const parts = [doing, `step ${number.format(progress.step)} of ${number.format(progress.total_timesteps)}`];
  if (progress.fps) parts.push(`${number.format(Math.round(progress.fps))} steps/s`);
  parts.push(`${number.format(counts.answered)} of ${plural(labelsBudget, "answer")}`);
  return { tone: "ok", text: parts.join(" · ") };
}

/** The trainer's own sentence for the person, while it is there to mean it. */
export const trainersWord = ({ status, reachable }) => (reachable && status?.trainer_alive && status.progress?.notice) || "";

/** Why there is no pair, and when there will be one: `{title, text}`. */
export function waitingWords({ status, reachable, loading, labelsBudget, runName, broken = 0 }) {
  if (!reachable) {
    return { title: "The label server is not answering", text: "Pairs come back as soon as it does. Nothing you answered is lost." };
  }
  if (loading) return { title: "Here they come", text: "The next two clips are on their way." };
  const progress = status?.progress;
  if (isComplete(progress)) return { title: "Training is complete", text: "There is nothing left to compare. Thank you." };
  if (status && status.counts.answered >= labelsBudget && status.counts.skipped >= status.counts.answered) {
    return {
      title: "That was the last answer",
      text: `All ${plural(labelsBudget, "answer")} of the budget were “can't tell”, so the agent cannot begin to learn. Go on with “pairplay resume ${runName}” and more --labels.`,
    };
  }
  if (status && status.counts.answered >= labelsBudget) {
    return { title: "That was the last answer", text: `All ${plural(labelsBudget, "answer")} of the budget are given. The agent goes on learning from them. Thank you.` };
  }
  if (broken > 0 && status && status.counts.leased <= broken) {
    return {
      title: broken === 1 ? "This pair cannot be shown here" : "These pairs cannot be shown here",
      text: `The clips of ${plural(broken, "pair")} did not load. Reload the page to try again; if it stays so, use a browser that plays H.264 video.`,
    };
  }
  if (status && status.counts.leased > 0) {
    return { title: "Every pair is taken", text: "Others are looking at them now. What they leave, and what is new, comes here by itself." };
  }
  if (status && !status.trainer_alive) {
    return {
      title: "Nothing to compare while training rests",
      text: `Go on with “pairplay resume ${runName}” in a terminal; the next pairs appear here by themselves.`,
    };
  }
  if (!progress || !progress.step) {
    const which = status?.counts.answered ? "next" : "first";
    return { title: "The agent is taking its first steps", text: `The ${which} two clips come in a few seconds. This page wakes up by itself.` };
  }
  const steps = (status.next_due_at_step ?? 0) - progress.step;
  const when = steps > 0 && progress.fps > 0 ? `The next pairs come ${inAbout(steps / progress.fps)}.` : "The next pairs come as soon as the agent has something new to show.";
  return { title: "All caught up", text: `${when} The agent plays on meanwhile, and this page wakes up by itself.` };
}
