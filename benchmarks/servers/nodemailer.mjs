// nodemailer's smtp-server, with a handler that reads every message to its end.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { SMTPServer } from "smtp-server";

const { values } = parseArgs({
  options: { certificate: { type: "string" }, key: { type: "string" } },
});
const { version } = createRequire(import.meta.url)("smtp-server/package.json");

let messages = 0;
let octets = 0;

const options = {
  name: "localhost",
  authOptional: true,
  disableReverseLookup: true,
  logger: false,
  onData(stream, session, done) {
    stream.on("data", (chunk) => (octets += chunk.length));
    stream.on("end", () => {
      messages++;
      done();
    });
  },
};
if (values.certificate) {
  options.cert = readFileSync(values.certificate);
  options.key = readFileSync(values.key);
}
const server = new SMTPServer(options);
server.on("error", () => {});
server.listen(0, "127.0.0.1", () => {
  const { port } = server.server.address();
  const name = `nodemailer smtp-server ${version}, Node ${process.version}`;
  console.log(JSON.stringify({ port, version: name }));
});
process.on("SIGTERM", () => {
  console.log(JSON.stringify({ messages, octets }));
  process.exit(0);
});
