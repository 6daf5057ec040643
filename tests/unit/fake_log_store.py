# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A FAKE of OpenSearch's _bulk, for what a real one does not answer on demand.

    fake_log_store.py CERTIFICATE KEY

Prints its port. Answers as PUT /answers said (a JSON list), once each: a number refuses the whole
request; an object has the status of a line by its identifier, where {"all": {"c": 400}} refuses
each request in which the line c is. Then takes everything, each identifier once; GET /held.

A process of its own, as Swift's library makes the threads of whoever imports it green.
"""

from __future__ import annotations

import http.server
import json
import ssl
import sys
from typing import Any, ClassVar


class FakeStore(http.server.BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", 5
    answers: ClassVar[list[Any]] = []
    held: ClassVar[dict[str, str]] = {}

    def body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def do_GET(self) -> None:
        self.send(200, self.held)

    def do_PUT(self) -> None:
        self.answers[:] = json.loads(self.body())
        self.held.clear()
        self.send(200, {})

    def do_POST(self) -> None:
        body = self.body().splitlines()
        names = [json.loads(line)["create"]["_id"] for line in body[::2]]
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, dict) and "all" in answer:
            answer = next((answer["all"][name] for name in names if name in answer["all"]), {})
        if isinstance(answer, int):
            return self.send(answer, {"error": "refused"})
        items = []
        for name, document in zip(names, body[1::2]):
            status = answer.get(name, 409 if name in self.held else 201)
            if status == 201:
                self.held[name] = document
            items.append({"create": {"_id": name, "status": status}})
        return self.send(200, {"items": items})

    def send(self, status: int, what: Any) -> None:
        text = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_words: Any) -> None:
        pass


def main() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeStore)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*sys.argv[1:3])
    # Hands are shaken in the request's own thread: who connects and is silent holds nobody up.
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
