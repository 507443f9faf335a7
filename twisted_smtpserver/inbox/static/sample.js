// The message that is sent from an empty inbox, to see how it looks.

export const SAMPLE = {
  From: { Email: "hello@inbox.example", Name: "Your inbox" },
  To: [{ Email: "you@inbox.example", Name: "You" }],
  Subject: "This is what a message looks like",
  Tags: ["sample"],
  Text: "Hello!\n\nThis is the text of a sample message. Here is a link: https://example.org/\n",
  HTML: `<div style="font:16px/1.6 system-ui,sans-serif;max-width:560px;margin:24px auto;color:#1f2937">
    <div style="background:linear-gradient(120deg,#7c6cff,#3b82f6);border-radius:14px;padding:36px 28px;color:#fff">
    <h1 style="margin:0;font-size:26px">Hello!</h1>
    <p style="margin:8px 0 0;opacity:.9">This is a sample message.</p></div>
    <p>The HTML of a message is in a sandbox: it runs nothing, and asks no other host for anything.</p>
    <p>Your code is <b style="font-size:22px;letter-spacing:4px">123456</b></p>
    <p><a href="https://example.org/" style="display:inline-block;background:#3b82f6;color:#fff;padding:10px 20px;border-radius:8px;text-decoration:none">A link</a></p>
    </div>`,
  Attachments: [{
    Filename: "notes.txt",
    ContentType: "text/plain",
    Content: btoa("Attachments can be downloaded.\n"),
  }],
};
