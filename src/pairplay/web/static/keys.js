/** Which key does what. Key repeat, modifiers, text fields and open dialogs are left alone. */

const ACTIONS = {
  ArrowLeft: "left",
  1: "left",
  ArrowRight: "right",
  2: "right",
  ArrowUp: "tie",
  3: "tie",
  ArrowDown: "skip",
  4: "skip",
  z: "undo",
  Backspace: "undo",
  " ": "toggle",
  r: "replay",
  ",": "back",
  ".": "forward",
  "[": "slower",
  "]": "faster",
  "?": "help",
};

const isTextField = (element) => element?.matches?.("input, textarea, select, [contenteditable]");

/** `handlers[action]()`. */
export function listen(handlers) {
  addEventListener("keydown", (event) => {
    if (isTextField(event.target) || document.querySelector("dialog[open]")) return;
    // A held Enter would click the focused button again and again, and each click is an answer.
    if (event.repeat && event.key === "Enter") event.preventDefault();
    if (event.altKey || event.metaKey || (event.ctrlKey && event.key.toLowerCase() !== "z")) return;
    // Whoever walks the buttons with Tab presses them with Space.
    if (event.key === " " && event.target.matches?.("button:focus-visible")) return;
    const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault(); // also on repeats: held arrows must not scroll the page
    if (!event.repeat) handlers[action]();
  });
}
