"""Who had most of their messages refused? ``query.py < twistd.log``, with --log-format json."""

import collections
import json
import sys

refused: collections.Counter[str] = collections.Counter()
for line in sys.stdin:
    event = json.loads(line)
    if event["event"] == "message" and event["code"] >= 400:
        refused[event["sender"]] += event["recipientCount"]
for sender, count in refused.most_common(10):
    print(count, sender)
