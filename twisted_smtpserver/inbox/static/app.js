// The page: a list, a message, and what happens between them.

import { api } from "./api.js";
import { byId, make, settled, toast } from "./dom.js";
import { listenToKeys } from "./keys.js";
import { MessageList } from "./list.js";
import { MessageView } from "./message.js";
import { SAMPLE } from "./sample.js";

let query = "";
let smtp = "this server’s SMTP port"; // or better, when the server has told where it is
let canRelease = false; // whether the server knows another one to send to
let counts = { total: 0, unread: 0, tags: [] };

const list = new MessageList(byId("list"), byId("rows"),
  (start, limit) => api.page(query, start, limit), pick);
const view = new MessageView(byId("message"), {
  back: () => go(null),
  remove: (id) => remove([id]),
  unread: (id) => mark([id], false),
  tags: setTags,
  search,
  release,
  canRelease: () => canRelease,
});

/** Say what went wrong instead of failing in silence. */
const attempt = (work) => work.catch((error) => toast(error.message));

// -- The list --------------------------------------------------------------------------------------

async function refresh() {
  const asked = query;
  const answer = await list.refresh();
  if (asked !== query) return;
  showCounts(answer);
  byId("problems").hidden = !answer.problems.length;
  byId("problems").textContent = answer.problems.join("; ");
  showNothing();
}

const refreshSoon = settled(150, () => attempt(refresh()));

function showCounts({ total, unread, tags }) {
  counts = { total, unread, tags };
  document.title = `${unread ? `(${unread}) ` : ""}Inbox`;
  byId("readAll").disabled = !unread;
  byId("deleteAll").disabled = !total;
  const filter = (text, wanted, count) => make("button", {
    type: "button", ariaPressed: String(query === wanted), onclick: () => search(wanted),
  }, text, count === undefined ? null : make("small", {}, count.toLocaleString()));
  byId("filters").replaceChildren(
    filter("All", "", total), filter("Unread", "is:unread", unread),
    filter("Attachments", "has:attachment"),
    ...tags.slice(0, 50).map((tag) => filter(`# ${tag}`, `tag:"${tag}"`)));
}

function showNothing() {
  const isEmpty = !list.total;
  byId("nothing").hidden = !isEmpty;
  byId("list").hidden = isEmpty;
  const [title, text] = byId("nothing").querySelectorAll("h2, p");
  byId("sample").hidden = Boolean(query);
  title.textContent = query ? "Nothing found" : "No mail yet";
  text.textContent = query ? "Pieces of words are found, too. Press ? for all that can be searched."
    : `Let your program send mail to ${smtp}. It appears here by itself.`;
}

function pick(message, event) {
  if (event.ctrlKey || event.metaKey || list.selected.size) select(message.ID);
  else go(message.ID);
}

function select(id) {
  if (!list.selected.delete(id)) list.selected.add(id);
  showSelection();
}

function showSelection() {
  const count = list.selected.size;
  byId("selection").hidden = !count;
  byId("selected").textContent = `${count} selected`;
  list.paint();
}

// -- What can be done with messages ----------------------------------------------------------------

async function remove(ids) {
  const next = ids.includes(view.id) ? list.get(list.find(view.id) + 1) : null;
  const isOpen = ids.includes(view.id);
  await attempt(api.remove(ids));
  list.remove(new Set(ids));
  if (isOpen) go(isWide() && next && !ids.includes(next.ID) ? next.ID : null, true);
  toast(ids.length === 1 ? "Message deleted" : `${ids.length} messages deleted`);
}

async function mark(ids, isRead) {
  await attempt(api.mark(ids, isRead));
  for (const id of ids) list.change(id, { Read: isRead });
  if (!isRead && ids.includes(view.id)) go(null);
}

async function setTags(id, tags) {
  await attempt(api.setTags([id], tags));
  const message = await api.message(id).catch(() => null);
  if (!message) return;
  list.change(id, { Tags: message.Tags });
  if (view.id === id) view.retag(message.Tags);
  refreshSoon();
}

async function release(message) {
  const dialog = byId("release");
  byId("releaseTo").value = message.Envelope.To.join("\n");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    const to = byId("releaseTo").value.split(/[\s,;]+/).filter(Boolean);
    attempt(api.release(message.ID, to).then(() => toast("The message is on its way")));
  }, { once: true });
}

const isWide = () => matchMedia("(min-width: 760px)").matches;

// -- Where we are: the address has the search and the message ---------------------------------------

function search(text) {
  byId("query").value = text;
  go(isWide() ? view.id : null, false, text);
}

/** Open a message, or none. */
function go(id, replace = false, text = query) {
  const values = text ? `?${new URLSearchParams({ q: text })}` : "";
  const path = id ? `/view/${id}${values}` : text ? `/search${values}` : "/";
  if (path !== location.pathname + location.search) {
    history[replace ? "replaceState" : "pushState"](null, "", path);
  }
  arrive();
}

async function arrive() {
  const wanted = new URLSearchParams(location.search).get("q") ?? "";
  const id = location.pathname.match(/^\/view\/([^/]+)$/)?.[1] ?? null;
  if (wanted !== query) {
    query = wanted;
    if (document.activeElement !== byId("query")) byId("query").value = query;
    list.scroller.scrollTop = 0;
    attempt(refresh());
  }
  byId("clear").hidden = !query;
  await open(id);
}

async function open(id) {
  list.active = id;
  document.body.classList.toggle("reading", Boolean(id));
  list.paint();
  if (!id) return view.clear();
  if (id === view.id) return undefined;
  try {
    const message = await api.message(id);
    if (list.active !== id) return undefined; // another one was chosen since
    list.active = message.ID;
    showRead(message.ID);
    const index = list.find(message.ID);
    if (index >= 0) list.reveal(index);
    return view.show(message);
  } catch (error) {
    toast(error.status === 404 ? "This message is gone" : error.message);
    return go(null, true);
  }
}

function step(by) {
  const index = list.find(list.active);
  const message = list.get(index < 0 ? 0 : index + by);
  if (message) go(message.ID, index >= 0);
}

// -- What happens elsewhere ------------------------------------------------------------------------

function listen() {
  const events = new EventSource("/api/events");
  const state = byId("state");
  let wasLost = false;
  events.onopen = () => {
    state.className = "state live";
    state.title = "New mail appears by itself";
    if (wasLost) refreshSoon();
  };
  events.onerror = () => {
    wasLost = true;
    state.className = "state lost";
    state.title = "The server can’t be reached; trying again";
  };
  events.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.Type === "read") return showRead(event.Data.ID);
    if (event.Type !== "new" || query) return refreshSoon();
    arrived.push(event.Data);
    if (arrived.length === 1) setTimeout(showArrived, 40);
    return undefined;
  };
}

const arrived = []; // messages that came since the list was painted

function showArrived() {
  const messages = arrived.splice(0);
  if (query) return refreshSoon();
  for (const message of messages) list.add(message);
  showCounts({
    total: counts.total + messages.length,
    unread: counts.unread + messages.length,
    tags: [...new Set([...counts.tags, ...messages.flatMap((each) => each.Tags)])].sort(),
  });
  showNothing();
  return countSoon();
}

/** Somebody has opened a message: here, or in another window. */
function showRead(id) {
  const known = list.get(list.find(id));
  if (known && !known.Read) showCounts({ ...counts, unread: Math.max(0, counts.unread - 1) });
  list.change(id, { Read: true });
  if (!known) countSoon();
}

// The oldest messages may have gone when new ones came.
const countSoon = settled(1000, () => attempt(api.page(query, 0, 1).then((answer) => {
  list.total = answer.messages_count;
  list.paint();
  showCounts(answer);
})));

// -- Buttons ---------------------------------------------------------------------------------------

function ask(question) {
  const dialog = byId("sure");
  dialog.querySelector("h2").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}

async function removeAll() {
  const count = list.total.toLocaleString();
  const question = query ? `Delete the ${count} messages found?` : `Delete all ${count} messages?`;
  if (!await ask(question)) return;
  await attempt(query ? api.removeFound(query) : api.remove([]));
  go(null);
}

const ofSelected = (work) => async () => {
  const ids = [...list.selected];
  list.selected.clear();
  showSelection();
  await work(ids);
};

const THEMES = ["system", "light", "dark"];

function showTheme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
}

function prepare() {
  const theme = localStorage.getItem("theme");
  showTheme(THEMES.includes(theme) ? theme : "system");
  byId("theme").onclick = () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3];
    showTheme(next);
    toast(`Theme: ${next}`);
  };
  const typed = settled(200, () => search(byId("query").value.trim()));
  byId("query").oninput = typed;
  byId("search").onsubmit = (event) => {
    event.preventDefault();
    search(byId("query").value.trim());
  };
  byId("clear").onclick = () => search("");
  byId("home").onclick = (event) => {
    event.preventDefault();
    byId("query").value = "";
    go(null, false, "");
  };
  byId("readAll").onclick = () => attempt(query ? api.markFound(query) : api.mark([], true));
  byId("deleteAll").onclick = removeAll;
  byId("help").onclick = () => byId("helpText").showModal();
  byId("sample").onclick = () => attempt(api.send(SAMPLE));
  byId("selectedRead").onclick = ofSelected((ids) => mark(ids, true));
  byId("selectedUnread").onclick = ofSelected((ids) => mark(ids, false));
  byId("selectedDelete").onclick = ofSelected(remove);
  byId("selectedNone").onclick = ofSelected(() => {});
  window.onpopstate = arrive;
  listenToKeys({
    next: () => step(1),
    previous: () => step(-1),
    back: () => (list.selected.size ? ofSelected(() => {})() : go(null)),
    remove: () => (list.selected.size ? ofSelected(remove)() : view.id && remove([view.id])),
    unread: () => view.id && mark([view.id], false),
    tag: () => view.addTag(),
    select: () => list.active && select(list.active),
    view: (number) => view.choose(number),
    search: () => byId("query").focus(),
    help: () => byId("helpText").showModal(),
  });
}

function learn({ MessageRelay, SMTP = [] }) {
  canRelease = MessageRelay.Enabled;
  const hosts = SMTP.map(({ Address, Port }) =>
    `${/^(0\.0\.0\.0|::)$/.test(Address) ? location.hostname : Address}, port ${Port}`);
  if (hosts.length) smtp = hosts.join(" or ");
  if (!byId("nothing").hidden) showNothing();
}

prepare();
query = new URLSearchParams(location.search).get("q") ?? "";
byId("query").value = query;
attempt(refresh());
attempt(api.settings().then(learn)).then(arrive);
listen();
