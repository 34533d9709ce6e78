"""A proxy before an S3 server that can hold, fail or drop chosen requests: faults without a hook in the product."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Rule = Callable[[str, str], bool]


class Proxy:
    """Forwards to ``target``; requests for which a rule says so are held, refused (503) or answered by silence."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.seen: list[tuple[str, str]] = []
        self.holding: Rule = lambda method, path: False
        self.failing: Rule = lambda method, path: False
        self.dropping_answers: Rule = lambda method, path: False
        self.held = threading.Event()
        self.release = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Where clients find the proxy."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        """No more requests."""
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, part: str) -> int:
        """How many requests came with that method and that in their path."""
        return sum(1 for each, path in self.seen if each == method and part in path)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Quiet."""

            def forward(self) -> None:
                body = self._body()
                proxy.seen.append((self.command, self.path))
                if proxy.failing(self.command, self.path):
                    self.send_error(503, "SlowDown")
                    return
                if proxy.holding(self.command, self.path):
                    proxy.held.set()
                    proxy.release.wait(60)
                self._pass_on(body)

            def _body(self) -> bytes:
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _pass_on(self, body: bytes) -> None:
                upstream = http.client.HTTPConnection(proxy.target.hostname or "", proxy.target.port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                upstream.request(self.command, self.path, body=body, headers=headers)
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if proxy.dropping_answers(self.command, self.path):
                    self.close_connection = True
                    self.connection.close()
                    return
                try:
                    self.send_response_only(answer.status, answer.reason)
                    for name, value in answer.getheaders():
                        if name.lower() not in ("transfer-encoding", "connection"):
                            self.send_header(name, value)
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    # The client died while it was held: that is what the test did.
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

        return Handler
