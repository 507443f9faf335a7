// Sends a message from standard input with nodemailer, as it is.
// usage: node nodemailer.mjs PORT plain|starttls|tls SENDER RECIPIENT
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const [port, security, sender, recipient] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: Number(port),
  secure: security === "tls",
  requireTLS: security === "starttls",
  ignoreTLS: security === "plain",
  tls: { rejectUnauthorized: false },
});
const info = await transport.sendMail({
  envelope: { from: sender, to: [recipient] },
  raw: readFileSync(0),
});
console.log(info.response);
transport.close();
