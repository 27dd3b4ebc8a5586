"""An address that is notified: a web server, as a process beside a test or in a pod. Standard library only.

Each POST is a line of JSON on stdout: path, content type, body, answer. The path says what is answered to a body that comes
for the first, second and further time: /503/200 is an error at first, /drop/200 an answer that is lost, /hold/200 one
that does not come for a minute.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOLD_SECONDS = 60
LOCK = threading.Lock()
SEEN: Counter[tuple[str, bytes]] = Counter()


class Receiver(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Answers as the path says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.path.partition("?")[0].strip("/").split("/")
        with LOCK:
            answer = answers[min(SEEN[self.path, body], len(answers) - 1)]
            SEEN[self.path, body] += 1
            found = {"path": self.path, "type": self.headers["Content-Type"], "body": json.loads(body), "answer": answer}
            print(json.dumps(found), flush=True)
        if answer == "hold":
            time.sleep(HOLD_SECONDS)
        self.close_connection = True
        if answer.isdecimal():
            self.send_response(int(answer))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """The lines of JSON are enough."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", int(sys.argv[1])), Receiver)
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    server.serve_forever()
