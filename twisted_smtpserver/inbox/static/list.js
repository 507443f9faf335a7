// The list of messages. Only the rows that can be seen exist, so 10,000 messages cost no more than 10.

import { make, icon } from "./dom.js";
import { hue, initials, longTime, nameOf, shortTime } from "./format.js";

const PAGE = 100; // how many messages are asked for at once
const SPARE = 6; // rows above and below what can be seen

export class MessageList {
  #rows = []; // messages by their place; a place is empty until its page has come
  #asked = new Set(); // pages that were asked for
  #elements = new Map(); // what is on the screen, by what it shows
  #added = 0; // how many messages came in front since the beginning
  #round = 0; // goes up when all is asked for anew
  #painting = false;

  /**
   * @param {HTMLElement} scroller what scrolls
   * @param {HTMLElement} field what is as high as all rows together
   * @param {(start: number, limit: number) => Promise} fetchPage gives a part of the list
   * @param {(message, event) => void} pick a row was clicked
   */
  constructor(scroller, field, fetchPage, pick) {
    this.scroller = scroller;
    this.field = field;
    this.fetchPage = fetchPage;
    this.pick = pick;
    this.total = 0;
    this.active = null; // the id of the message that is open
    this.selected = new Set(); // the ids of those that are selected
    scroller.addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => this.paint()).observe(scroller);
  }

  get rowHeight() {
    return parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 76;
  }

  /** Ask for everything anew; what is shown stays until the answer is here. */
  async refresh() {
    const round = ++this.#round;
    const page = Math.floor(this.scroller.scrollTop / this.rowHeight / PAGE);
    const answer = await this.fetchPage(page * PAGE, PAGE * 2);
    if (round !== this.#round) return answer; // asked again since
    this.#rows = [];
    this.#asked = new Set([page, page + 1]);
    this.total = answer.messages_count;
    answer.messages.forEach((message, index) => { this.#rows[page * PAGE + index] = message; });
    this.paint();
    return answer;
  }

  /** A message came. */
  add(message) {
    this.#rows.unshift(message);
    this.#asked = new Set([...this.#asked].filter((page) => this.#isWhole(page)));
    this.#added += 1;
    this.total += 1;
    if (this.scroller.scrollTop > 0) this.scroller.scrollTop += this.rowHeight;
    this.paint();
  }

  #isWhole(page) {
    const end = Math.min((page + 1) * PAGE, this.total + 1);
    for (let index = page * PAGE; index < end; index++) if (!this.#rows[index]) return false;
    return true;
  }

  /** Messages are gone: show that before the server says so. */
  remove(ids) {
    for (const id of ids) {
      const index = this.find(id);
      if (index < 0) continue;
      this.#rows.splice(index, 1);
      this.total -= 1;
    }
    this.paint();
  }

  /** Change what is known of a message. */
  change(id, properties) {
    const message = this.#rows.find((each) => each?.ID === id);
    if (message) Object.assign(message, properties);
    this.paint();
  }

  get(index) { return this.#rows[index]; }

  find(id) { return this.#rows.findIndex((message) => message?.ID === id); }

  /** Scroll so that a row can be seen. */
  reveal(index) {
    const top = index * this.rowHeight;
    const bottom = top + this.rowHeight - this.scroller.clientHeight;
    if (this.scroller.scrollTop > top) this.scroller.scrollTop = top;
    else if (this.scroller.scrollTop < bottom) this.scroller.scrollTop = bottom;
  }

  /** Show what is to be seen, once before the next picture. */
  paint() {
    if (this.#painting) return;
    this.#painting = true;
    requestAnimationFrame(() => {
      this.#painting = false;
      this.#paintNow();
    });
  }

  #paintNow() {
    const height = this.rowHeight;
    this.field.style.height = `${this.total * height}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / height) - SPARE);
    const count = Math.ceil(this.scroller.clientHeight / height) + 2 * SPARE;
    const end = Math.min(this.total, first + count);
    const kept = new Map();
    for (let index = first; index < end; index++) {
      const message = this.#rows[index];
      if (!message) this.#ask(Math.floor(index / PAGE));
      const key = this.#key(message, index);
      const element = this.#elements.get(key) ?? this.#row(message);
      element.style.transform = `translateY(${index * height}px)`;
      element.ariaPosInSet = index + 1;
      element.ariaSetSize = this.total;
      kept.set(key, element);
      this.#elements.delete(key);
    }
    for (const element of this.#elements.values()) element.remove();
    let place = this.field.firstChild; // in order, for those who hear the page
    for (const element of kept.values()) {
      if (element === place) place = place.nextSibling;
      else this.field.insertBefore(element, place);
    }
    this.#elements = kept;
  }

  #key(message, index) {
    if (!message) return `empty ${index}`;
    const marks = [message.Read, this.active === message.ID, this.selected.has(message.ID)];
    return JSON.stringify([message.ID, marks, message.Tags]);
  }

  async #ask(page) {
    if (this.#asked.has(page)) return;
    this.#asked.add(page);
    const added = this.#added;
    const round = this.#round;
    const answer = await this.fetchPage(page * PAGE, PAGE).catch(() => null);
    if (round !== this.#round) return;
    if (!answer) {
      this.#asked.delete(page);
      return;
    }
    const start = page * PAGE + this.#added - added; // some came in the meantime
    answer.messages.forEach((message, index) => { this.#rows[start + index] = message; });
    this.total = answer.messages_count + this.#added - added;
    this.paint();
  }

  #row(message) {
    if (!message) return make("div.row.empty", {}, make("i"), make("b"), make("u"));
    const isActive = this.active === message.ID;
    const isSelected = this.selected.has(message.ID);
    const face = make("span.face", { ariaHidden: "true" }, initials(message.From));
    face.style.setProperty("--hue", hue(message.From.Address));
    const row = make(
      "div.row",
      { onclick: (event) => this.pick(message, event), role: "option", ariaSelected: isSelected },
      face,
      make("span.from", { title: message.From.Address }, nameOf(message.From)),
      make("time", { dateTime: message.Created, title: longTime(message.Created) },
        shortTime(message.Created)),
      make("span.subject", {}, message.Subject || "(no subject)"),
      make("span.snippet", {}, message.Snippet),
      make("span.marks", {},
        ...message.Tags.slice(0, 3).map((tag) => make("span.tag", {}, tag)),
        message.Attachments ? icon("clip") : null),
    );
    row.dataset.id = message.ID;
    row.classList.toggle("unread", !message.Read);
    row.classList.toggle("active", isActive);
    row.classList.toggle("selected", isSelected);
    return row;
  }
}
