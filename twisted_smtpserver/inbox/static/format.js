// How things are written.

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** When a message came: the time today, else the day. */
export function shortTime(iso, now = new Date()) {
  const date = new Date(iso);
  if (date.toDateString() === now.toDateString()) return time.format(date);
  return (date.getFullYear() === now.getFullYear() ? day : year).format(date);
}

export const longTime = (iso) => whole.format(new Date(iso));

export function size(octets) {
  if (octets < 1000) return `${octets} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    octets /= 1000;
    if (octets < 999.5) return `${octets < 10 ? octets.toFixed(1) : Math.round(octets)} ${unit}`;
  }
  return `${Math.round(octets)} GB`;
}

export const nameOf = (box) => box.Name || box.Address || "(nobody)";

/** One or two letters for a person. */
export function initials(box) {
  const words = nameOf(box).replace(/[^\p{L}\p{N} ]/gu, " ").trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0] ?? "?").join("").toUpperCase();
}

/** A color for a person, the same each time, in degrees. */
export function hue(text) {
  let sum = 7;
  for (const character of text.toLowerCase()) sum = (sum * 31 + character.codePointAt(0)) % 3600;
  return sum / 10;
}

/** Cut a text into pieces: strings, and {link} where there is an address of the web. */
export function linked(text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[^\s<>"']{1,2000}/g)) {
    const link = match[0].replace(/[.,;:!?)\]}]+$/, "");
    pieces.push(text.slice(end, match.index), { link });
    end = match.index + link.length;
  }
  return [...pieces, text.slice(end)];
}
