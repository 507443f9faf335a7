// Calls the API of an inbox with Mailpit's client from npm; any difference ends it with an error.
// usage: node mailpit.mjs URL
import assert from "node:assert/strict";
import { MailpitClient } from "mailpit-api";

const [url] = process.argv.slice(2);
const client = new MailpitClient(url, { auth: { username: "joe", password: "secret" } });

const { ID: first } = await client.sendMessage({
  From: { Email: "ann@example.org", Name: "Ann" },
  To: [{ Email: "bob@example.net" }],
  Subject: "Reset your password",
  Text: "Your code is 123456",
  HTML: "<p>Your code is <b>123456</b>",
  Tags: ["auth"],
  Attachments: [{ Filename: "a.txt", Content: btoa("octets"), ContentType: "text/plain" }],
});
const { ID: second } = await client.sendMessage({
  From: { Email: "carl@example.org" },
  To: [{ Email: "dora@example.net" }],
  Subject: "Invoice",
  Text: "Please pay",
});

const list = await client.listMessages();
assert.equal(list.total, 2);
assert.deepEqual(list.messages.map((message) => message.ID), [second, first]);
assert.deepEqual(list.tags, ["auth"]);
assert.equal((await client.listMessages(1, 1)).messages[0].Snippet, "Your code is 123456");

const summary = await client.getMessageSummary(first);
assert.equal(summary.From.Name, "Ann");
assert.equal(summary.Attachments[0].FileName, "a.txt");
assert.ok(!Number.isNaN(Date.parse(summary.Date)));
assert.equal((await client.getMessageSummary()).ID, second);
assert.deepEqual((await client.getMessageHeaders(first)).Subject, ["Reset your password"]);
assert.match(await client.getMessageSource(first), /^Subject: Reset your password/m);
const part = await client.getMessageAttachment(first, summary.Attachments[0].PartID);
assert.equal(await part.text(), "octets");
assert.match(part.type, /^text\/plain/);
assert.ok((await client.getAttachmentThumbnail(first, summary.Attachments[0].PartID)).size);
assert.match(await client.renderMessageHTML(first), /<b>123456<\/b>/);
assert.equal((await client.renderMessageText(first)).trim(), "Your code is 123456");

assert.equal((await client.searchMessages({ query: "to:dora pay" })).messages_count, 1);
assert.equal((await client.searchMessages({ query: "after:2020-01-01", tz: "Asia/Tokyo" })).messages_count, 2);
assert.equal((await client.waitForMessage({ query: 'subject:"your password"' })).ID, first);
assert.equal((await client.waitForMessages({ count: 2, exact: true })).messages_count, 2);

assert.equal(await client.setReadStatus({ IDs: [first], Read: false }), "ok");
assert.equal((await client.searchMessages({ query: "is:unread" })).messages[0].ID, first);
assert.equal(await client.setReadStatus({ Search: "from:ann", Read: true }), "ok");
assert.equal((await client.listMessages()).unread, 0);

assert.equal(await client.setTags({ IDs: [first, second], Tags: ["Two", "one"] }), "ok");
assert.deepEqual(await client.getTags(), ["one", "Two"]);
assert.equal(await client.renameTag("one", "1"), "ok");
assert.equal(await client.deleteTag("Two"), "ok");
assert.deepEqual(await client.getTags(), ["1"]);

const triggers = await client.setChaosTriggers({ Recipient: { ErrorCode: 451, Probability: 5 } });
assert.deepEqual(triggers.Recipient, { ErrorCode: 451, Probability: 5 });
assert.deepEqual(await client.getChaosTriggers(), triggers);
assert.equal((await client.setChaosTriggers()).Recipient.Probability, 0);

assert.equal((await client.getInfo()).Messages, 2);
assert.equal((await client.getConfiguration()).MessageRelay.Enabled, false);
await assert.rejects(client.releaseMessage(first, ["x@example.org"]), /501/);
await assert.rejects(client.getMessageSummary("nobody"), /404/);

assert.equal(await client.deleteMessagesBySearch({ query: "from:ann" }), "ok");
assert.equal(await client.deleteMessages({ IDs: [second] }), "ok");
assert.equal((await client.listMessages()).total, 0);
console.log("every call was answered as Mailpit answers it");
