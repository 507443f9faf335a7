// Says what nodemailer's smtp-server makes of addresses: two servers, one of them lenient, which
// answer each MAIL and RCPT that they understand with the address.
import { SMTPServer } from "smtp-server";

const saw = (address) =>
  Object.assign(new Error(`saw ${JSON.stringify(address.address)}`), { responseCode: 550 });

const listening = [false, true].map((lenientAddressParsing) => {
  const server = new SMTPServer({
    name: "reference.example",
    authOptional: true,
    disableReverseLookup: true,
    disabledCommands: ["STARTTLS"],
    lenientAddressParsing,
    logger: false,
    onMailFrom: (address, session, done) =>
      done(address.address === "sender@client.example" ? null : saw(address)),
    onRcptTo: (address, session, done) => done(saw(address)),
  });
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve(server.server.address().port)),
  );
});
console.log(JSON.stringify(await Promise.all(listening)));
// It ends with whoever started it.
process.stdin.on("end", () => process.exit(0)).resume();
