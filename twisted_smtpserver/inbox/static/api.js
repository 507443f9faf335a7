// What the page asks the server: the same API that Mailpit's clients use.

/** Somebody asked for something that isn't there, or can't be done. */
export class Refused extends Error {
  constructor(status, text) {
    super(text.trim() || `The server answered ${status}`);
    this.status = status;
  }
}

async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
    });
  } catch {
    throw new Refused(0, "The server can’t be reached");
  }
  if (!response.ok) throw new Refused(response.status, await response.text());
  return response;
}

const askJSON = async (...request) => (await ask(...request)).json();
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";

export const api = {
  /** A part of the list, or of what a search finds. */
  page(query, start, limit) {
    const values = new URLSearchParams({ start, limit });
    if (!query) return askJSON("GET", `/api/v1/messages?${values}`);
    values.set("query", query);
    values.set("tz", zone);
    return askJSON("GET", `/api/v1/search?${values}`);
  },
  message: (id) => askJSON("GET", `/api/v1/message/${encodeURIComponent(id)}`),
  headers: (id) => askJSON("GET", `/api/v1/message/${id}/headers`),
  source: async (id) => (await ask("GET", `/api/v1/message/${id}/raw`)).text(),
  mark: (IDs, Read) => ask("PUT", "/api/v1/messages", { IDs, Read }),
  remove: (IDs) => ask("DELETE", "/api/v1/messages", { IDs }),
  removeFound(query) {
    const values = new URLSearchParams({ query, tz: zone });
    return ask("DELETE", `/api/v1/search?${values}`);
  },
  markFound(query) {
    const values = new URLSearchParams({ tz: zone });
    return ask("PUT", `/api/v1/messages?${values}`, { Search: query, Read: true });
  },
  setTags: (IDs, Tags) => ask("PUT", "/api/v1/tags", { IDs, Tags }),
  settings: () => askJSON("GET", "/api/v1/webui"),
  release: (id, To) => ask("POST", `/api/v1/message/${id}/release`, { To }),
  send: (message) => askJSON("POST", "/api/v1/send", message),
};

export const partPath = (id, part) => `/api/v1/message/${id}/part/${encodeURIComponent(part)}`;
