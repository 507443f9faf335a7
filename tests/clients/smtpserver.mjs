// nodemailer's smtp-server, to be compared with: one with its defaults, and one that is lenient,
// which answer each address that they understand with it; one that requires a login; and one that
// expects a PROXY header.
import { SMTPServer } from "smtp-server";

const saw = (address) =>
  Object.assign(new Error(`saw ${JSON.stringify(address.address)}`), { responseCode: 550 });

const looking = {
  authOptional: true,
  disabledCommands: ["STARTTLS"],
  onMailFrom: (address, session, done) =>
    done(address.address === "sender@client.example" ? null : saw(address)),
  onRcptTo: (address, session, done) => done(saw(address)),
};
const servers = [
  looking,
  { ...looking, lenientAddressParsing: true },
  {
    allowInsecureAuth: true,
    hideDSN: false,
    disabledCommands: ["VRFY"],
    onAuth: (auth, session, done) => done(null, { user: "joe" }),
  },
  { authOptional: true, useProxy: true },
];
const listening = servers.map((options) => {
  const server = new SMTPServer({
    name: "reference.example",
    disableReverseLookup: true,
    logger: false,
    ...options,
  });
  server.on("error", () => {});
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve(server.server.address().port)),
  );
});
console.log(JSON.stringify(await Promise.all(listening)));
// It ends with whoever started it.
process.stdin.on("end", () => process.exit(0)).resume();
