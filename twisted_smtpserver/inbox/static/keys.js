// The keyboard.

/**
 * Call what a key is for, unless somebody writes something.
 * @param {object} actions next, previous, back, remove, unread, tag, select, view, search, help
 */
export function listenToKeys(actions) {
  const keys = {
    j: actions.next, ArrowDown: actions.next,
    k: actions.previous, ArrowUp: actions.previous,
    Escape: actions.back,
    d: actions.remove, Delete: actions.remove,
    u: actions.unread, t: actions.tag, x: actions.select,
    "/": actions.search, "?": actions.help,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const number = "1234".indexOf(event.key);
    const act = number >= 0 ? () => actions.view(number) : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
