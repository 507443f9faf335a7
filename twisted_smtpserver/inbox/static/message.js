// One message: its head, and its HTML, text, headers and source.

import { api, partPath } from "./api.js";
import { icon, make, toast } from "./dom.js";
import { hue, initials, linked, longTime, nameOf, size } from "./format.js";

const SANDBOX = "allow-popups allow-popups-to-escape-sandbox";
const MOST_SHOWN = 500_000; // characters of a source; all of it can be downloaded

export class MessageView {
  #message = null;
  #view = "";
  #isPhone = false;
  #isRemote = false;

  /**
   * @param {HTMLElement} place where it is shown
   * @param {object} actions what the buttons do: back, remove, unread, tags, search, release
   */
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
  }

  get id() { return this.#message?.ID ?? null; }

  /** Nothing is open. */
  clear() {
    this.#message = null;
    this.place.replaceChildren(
      make("div.hint", {}, icon("read"), make("p", {}, "Choose a message to read it")));
  }

  show(message) {
    this.#message = message;
    this.#isRemote = false;
    this.#view = message.HTML ? "html" : "text";
    this.place.replaceChildren(this.#head(), this.#tabs(), make("div.content"));
    this.place.scrollTop = 0;
    this.#showContent();
  }

  /** Other tags. */
  retag(tags) {
    if (!this.#message) return;
    this.#message.Tags = tags;
    this.place.querySelector(".tags")?.replaceWith(this.#tags());
  }

  /** Go to a view by its number. */
  choose(number) {
    const name = ["html", "text", "headers", "source"][number];
    const tab = this.place.querySelector(`[data-view="${name}"]`);
    if (tab && !tab.disabled) tab.click();
  }

  addTag() {
    this.place.querySelector(".addTag")?.click();
  }

  // -- The head ----------------------------------------------------------------------------------

  #head() {
    const message = this.#message;
    const face = make("span.face.large", { ariaHidden: "true" }, initials(message.From));
    face.style.setProperty("--hue", hue(message.From.Address));
    return make("header.head", {},
      this.#toolbar(),
      make("h1", {}, message.Subject || "(no subject)"),
      make("div.who", {}, face,
        make("div.people", {},
          make("div", {}, make("strong", {}, nameOf(message.From)), " ",
            make("span.address", {}, message.From.Name ? message.From.Address : "")),
          ...this.#recipients()),
        make("time", { dateTime: message.Date }, longTime(message.Date))),
      this.#tags(),
      this.#attachments());
  }

  #toolbar() {
    const { ID } = this.#message;
    const button = (id, name, title, onclick) =>
      make("button.quiet", { id, title, onclick }, icon(name));
    return make("div.toolbar", {},
      button("back", "back", "Back to the list (Esc)", () => this.actions.back()),
      make("span.gap"),
      button("unread", "unread", "Mark as unread (u)", () => this.actions.unread(ID)),
      this.actions.canRelease()
        ? button("releaseOne", "send", "Release: send it for real", () => this.actions.release(this.#message))
        : null,
      make("a.quiet", {
        id: "download", title: "Download the message", href: `/api/v1/message/${ID}/raw?dl=1`,
        download: `${ID}.eml`,
      }, icon("download")),
      button("delete", "trash", "Delete (d)", () => this.actions.remove(ID)));
  }

  #recipients() {
    const message = this.#message;
    const lines = [["to", message.To], ["cc", message.Cc], ["bcc", message.Bcc],
      ["reply to", message.ReplyTo]];
    return lines.filter(([, boxes]) => boxes.length).map(([name, boxes]) => {
      const shown = boxes.slice(0, 20);
      const more = boxes.length - shown.length;
      return make("div.to", {}, make("span", {}, name), " ",
        ...shown.flatMap((box, index) => [
          index ? ", " : "",
          make("button.link", {
            title: `Search for ${box.Address}`,
            onclick: () => this.actions.search(`addressed:"${box.Address}"`),
          }, box.Name ? `${box.Name} <${box.Address}>` : box.Address),
        ]),
        more ? ` and ${more} more` : "");
    });
  }

  #tags() {
    const tags = this.#message.Tags;
    const set = (wanted) => this.actions.tags(this.#message.ID, wanted);
    const chips = tags.map((tag) => make("span.tag", {},
      make("button.link", { onclick: () => this.actions.search(`tag:"${tag}"`) }, tag),
      make("button.link.remove", {
        title: `Remove the tag ${tag}`, ariaLabel: `Remove the tag ${tag}`,
        onclick: () => set(tags.filter((each) => each !== tag)),
      }, "×")));
    const input = make("input.newTag", {
      placeholder: "new tag", maxLength: 100, hidden: true, ariaLabel: "New tag",
      onblur: () => { input.hidden = true; input.value = ""; },
      onkeydown: (event) => {
        event.stopPropagation();
        if (event.key === "Escape") input.blur();
        if (event.key !== "Enter" || !input.value.trim()) return;
        set([...tags, input.value.trim()]);
      },
    });
    const add = make("button.link.addTag", {
      title: "Add a tag (t)",
      onclick: () => { input.hidden = false; input.focus(); },
    }, icon("tag"), "Tag");
    return make("div.tags", {}, ...chips, add, input);
  }

  #attachments() {
    const { ID, Attachments } = this.#message;
    if (!Attachments.length) return null;
    return make("ul.attachments", { ariaLabel: "Attachments" }, ...Attachments.map((part) => {
      const path = partPath(ID, part.PartID);
      const isPicture = /^image\/(png|jpeg|gif|webp|avif)$/.test(part.ContentType);
      const picture = isPicture ? make("img", { src: path, alt: "", loading: "lazy" }) : icon("file");
      const name = part.FileName || part.ContentType;
      return make("li", {}, make("a", {
        href: `${path}?dl=1`, download: part.FileName || "attachment",
        title: `${part.ContentType}\nSHA-256 ${part.Checksums.SHA256}`,
      }, picture, make("span", {}, make("b", {}, name), make("small", {}, size(part.Size)))));
    }));
  }

  // -- The views ---------------------------------------------------------------------------------

  #tabs() {
    const message = this.#message;
    const tab = (name, text, disabled = false) => make("button", {
      type: "button", role: "tab", disabled, "data-view": name,
      onclick: () => { this.#view = name; this.#showContent(); },
    }, text);
    const width = (isPhone, name, title) => make("button.quiet", {
      title, "data-phone": String(isPhone),
      onclick: () => { this.#isPhone = isPhone; this.#showContent(); },
    }, icon(name));
    return make("div.tabs", {},
      make("div", { role: "tablist" },
        tab("html", "HTML", !message.HTML),
        tab("text", "Text", !message.Text),
        tab("headers", "Headers"),
        tab("source", "Source")),
      make("span.gap"),
      make("small.size", {}, size(message.Size)),
      make("span.widths", {},
        width(false, "desktop", "As wide as it can be"),
        width(true, "phone", "As on a phone")));
  }

  #showContent() {
    for (const tab of this.place.querySelectorAll("[role=tab]")) {
      tab.ariaSelected = String(tab.dataset.view === this.#view);
    }
    for (const button of this.place.querySelectorAll("[data-phone]")) {
      button.ariaPressed = String(button.dataset.phone === String(this.#isPhone));
    }
    this.place.dataset.view = this.#view;
    const content = this.place.querySelector(".content");
    const shown = { html: () => this.#html(), text: () => this.#text(),
      headers: () => this.#headers(), source: () => this.#source() }[this.#view]();
    content.replaceChildren(...[shown].flat());
  }

  #html() {
    const { ID, HTML } = this.#message;
    const frame = make("iframe", {
      id: "html", title: "The message", sandbox: SANDBOX, referrerPolicy: "no-referrer",
      src: `/view/${ID}.html${this.#isRemote ? "?remote=1" : ""}`,
    });
    frame.classList.toggle("phone", this.#isPhone);
    // A guess is enough: the server's policy is what keeps the message from asking anybody.
    if (this.#isRemote || !/https?:\/\/[^"'\s>]+\.(png|jpe?g|gif|webp|svg|css)|<img[^>]+src=["']?(https?:)?\/\/|url\(\s*["']?(https?:)?\/\//i.test(HTML)) return frame;
    return [make("div.banner", {}, icon("shield"),
      make("span", {}, "Pictures from other hosts are not loaded."),
      make("button.link", {
        id: "remote", onclick: () => { this.#isRemote = true; this.#showContent(); },
      }, "Load them")), frame];
  }

  #text() {
    const pieces = linked(this.#message.Text).map((piece) => typeof piece === "string" ? piece
      : make("a", { href: piece.link, target: "_blank", rel: "noopener noreferrer" }, piece.link));
    return make("pre.text", {}, ...pieces);
  }

  #headers() {
    const { ID, Envelope } = this.#message;
    const table = make("table", {}, make("tbody"));
    const fill = (rows) => table.tBodies[0].append(...rows.map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value))));
    const envelope = make("table.envelope", {}, make("caption", {}, "Envelope"), make("tbody", {},
      ...[["MAIL FROM", `<${Envelope.From}>`], ["RCPT TO", Envelope.To.map((to) => `<${to}>`).join(", ")],
        ["Client", [Envelope.RemoteAddress, Envelope.Hello, Envelope.TLS].filter(Boolean).join(" · ")]]
        .filter(([, value]) => value)
        .map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
    api.headers(ID).then(
      (headers) => fill(Object.entries(headers).flatMap(([name, values]) =>
        values.map((value) => [name, value]))),
      (error) => toast(error.message));
    table.prepend(make("caption", {}, "Header"));
    return [envelope, table];
  }

  #source() {
    const shown = make("pre.source");
    api.source(this.#message.ID).then((source) => {
      shown.textContent = source.slice(0, MOST_SHOWN);
      if (source.length > MOST_SHOWN) {
        shown.after(make("p.banner", {}, `The source has ${size(source.length)}: download it to see all.`));
      }
    }, (error) => toast(error.message));
    return shown;
  }
}
