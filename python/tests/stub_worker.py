"""Stands for `warifu-worker`: reads its configuration, posts the events of STUB_EVENTS to the handler `h`, one after the
other, writes status and answer of each to STUB_ANSWERS, and then waits for SIGINT, which drains it.

STUB_EVENTS is a JSON list of objects with `event` (the object to post) and, if they differ, `headers`, `path` and `hang_up`
(close the connection once that file is there, in place of reading the answer). With STUB_DRAINS it creates that file at the first SIGINT, and ends
by the second.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from conftest import eventually


def main() -> int:
    config = Path(sys.argv[sys.argv.index("--config") + 1])
    assert config.stat().st_mode & 0o077 == 0 and config.parent.stat().st_mode & 0o077 == 0
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    assert blocked == {signal.SIGTERM}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    text = config.read_text()
    handler = text.split('[handlers."h"]')[1]
    url = urlsplit(re.search(r'^url = "(.*)"$', handler, re.MULTILINE)[1])  # type: ignore[index]
    secret = re.search(r'^headers = \{ "(.*)" = "(.*)" \}$', handler, re.MULTILINE).groups()  # type: ignore[union-attr]
    told = {"arguments": sys.argv[1:], "config": text, "id": os.getpid()}
    answers = [told]
    for entry in json.loads(os.environ["STUB_EVENTS"]):
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
        headers = {secret[0]: secret[1], **entry.get("headers", {})}
        connection.request("POST", entry.get("path", url.path), json.dumps(entry["event"]), headers)
        if "hang_up" in entry:
            eventually("the handler has begun", Path(entry["hang_up"]).exists)
        else:
            answer = connection.getresponse()
            failed = answer.getheader("X-Amz-Function-Error") is not None
            answers.append({"status": answer.status, "failed": failed, "answer": json.loads(answer.read())})
        connection.close()
    partial = Path(os.environ["STUB_ANSWERS"] + ".part")
    partial.write_text(json.dumps(answers))
    partial.rename(os.environ["STUB_ANSWERS"])
    signal.sigwait([signal.SIGINT])
    if drains := os.environ.get("STUB_DRAINS"):
        Path(drains).touch()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        signal.pause()
    return int(os.environ.get("STUB_STATUS", "0"))


if __name__ == "__main__":
    sys.exit(main())
