// nodemailer's smtp-server, storing each message as a Maildir does: written, synced, renamed, synced.

import { open, mkdir, rename } from "node:fs/promises";
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { SMTPServer } from "smtp-server";

const [port, folder] = process.argv.slice(2);
let count = 0;

async function store(stream) {
  const name = `${process.pid}.${count++}`;
  const temporary = `${folder}/tmp/${name}`;
  await pipeline(stream, createWriteStream(temporary, { flags: "wx", mode: 0o600, flush: true }));
  await rename(temporary, `${folder}/new/${name}`);
  const directory = await open(`${folder}/new`);
  await directory.sync();
  await directory.close();
}

await mkdir(`${folder}/tmp`, { recursive: true });
await mkdir(`${folder}/new`);
const server = new SMTPServer({
  name: "localhost",
  authOptional: true,
  disableReverseLookup: true,
  logger: false,
  onData: (stream, session, done) => store(stream).then(() => done(), done),
});
server.on("error", () => {});
server.listen(Number(port), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
