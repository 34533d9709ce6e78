"""Fault proxies: one before an S3 server, that strikes chosen requests, and one before any TCP server.

Both write down what they did, so that a test can prove that its fault met a request in flight; neither needs a hook in
the product.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Rule = Callable[[str, str], bool]
# status: answered without asking the server. drop_before, drop_after: the connection is cut before, after the server
# did it. truncate: half of the request's body reaches the server (of a GET: half of the answer reaches the client).
# delay: the server is asked only after so many seconds. hold: only when the test says so. late: the client is cut off
# at once, and the server asked when the test says so.
KINDS = ("status", "drop_before", "drop_after", "truncate", "delay", "hold", "late")


@dataclass(eq=False)
class Fault:
    """What is to happen to the next ``times`` requests (None: to all) of a method whose path matches ``path``."""

    kind: str
    method: str
    path: str
    times: int | None = 1
    status: int = 503
    seconds: float = 0.0
    # The requests it struck: when, method, path.
    struck: list[tuple[float, str, str]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    # Set when a request it held up has gone through after all.
    landed: threading.Event = field(default_factory=threading.Event)
    outcome: int = 0

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind

    def wants(self, method: str, path: str) -> bool:
        """True if it is to strike this request."""
        left = self.times is None or len(self.struck) < self.times
        return left and method == self.method and re.search(self.path, unquote(path)) is not None


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed break off; that is no news."""


class Proxy:
    """Forwards to ``target``; ``faults`` strike in their order, rules hold, refuse (503) or answer by silence."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.seen: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.holding: Rule = lambda method, path: False
        self.failing: Rule = lambda method, path: False
        self.dropping_answers: Rule = lambda method, path: False
        self.held = threading.Event()
        self.release = threading.Event()
        self.server = _Quiet(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Where clients find the proxy."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        """No more requests."""
        self.calm()
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, part: str) -> int:
        """How many requests came with that method and that in their path."""
        return sum(1 for each, path in self.seen if each == method and part in path)

    def strike(self, kind: str, method: str, path: str, **how: object) -> Fault:
        """Arm a fault; it says itself what it struck."""
        fault = Fault(kind, method, path, **how)  # type: ignore[arg-type]
        with self.lock:
            self.faults.append(fault)
        return fault

    def calm(self) -> None:
        """No further fault; what is held goes on."""
        with self.lock:
            faults, self.faults = self.faults, []
        for fault in faults:
            fault.release.set()

    def struck_by(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, which is noted in it."""
        with self.lock:
            for fault in self.faults:
                if fault.wants(method, path):
                    fault.struck.append((time.time(), method, unquote(path)))
                    return fault
        return None

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
                fault = proxy.struck_by(self.command, self.path)
                if fault is None:
                    self._pass_on(body)
                else:
                    self._strike(fault, body)

            def _strike(self, fault: Fault, body: bytes) -> None:
                if fault.kind == "status":
                    self.send_error(fault.status, "SlowDown")
                elif fault.kind == "drop_before":
                    self._hang_up()
                elif fault.kind == "late":
                    threading.Thread(target=self._later, args=(fault, body), daemon=True).start()
                    self._hang_up()
                elif fault.kind == "truncate" and self.command == "PUT":
                    self._cut(body)
                    self._hang_up()
                else:
                    if fault.kind == "delay":
                        time.sleep(fault.seconds)
                    if fault.kind == "hold":
                        fault.held.set()
                        fault.release.wait(120)
                    fault.outcome = self._pass_on(
                        body, silent=fault.kind == "drop_after", half=fault.kind == "truncate"
                    )
                    fault.landed.set()

            def _later(self, fault: Fault, body: bytes) -> None:
                fault.held.set()
                fault.release.wait(600)
                fault.outcome = self._ask(body)[0].status
                fault.landed.set()

            def _body(self) -> bytes:
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _headers(self) -> dict[str, str]:
                return {name: value for name, value in self.headers.items() if name.lower() != "expect"}

            def _cut(self, body: bytes) -> None:
                """The server gets half of what it was promised."""
                upstream = http.client.HTTPConnection(proxy.target.hostname or "", proxy.target.port, timeout=5)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self._headers().items():
                    upstream.putheader(name, value)
                upstream.endheaders()
                upstream.send(body[: len(body) // 2])
                upstream.close()

            def _hang_up(self) -> None:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                self.connection.close()

            def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
                upstream = http.client.HTTPConnection(proxy.target.hostname or "", proxy.target.port, timeout=60)
                upstream.request(self.command, self.path, body=body, headers=self._headers())
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                return answer, content

            def _pass_on(self, body: bytes, *, silent: bool = False, half: bool = False) -> int:
                answer, content = self._ask(body)
                if silent or proxy.dropping_answers(self.command, self.path):
                    self._hang_up()
                    return answer.status
                try:
                    self.send_response_only(answer.status, answer.reason)
                    for name, value in answer.getheaders():
                        if name.lower() not in ("transfer-encoding", "connection"):
                            self.send_header(name, value)
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content[: len(content) // 2] if half else content)
                    if half:
                        self._hang_up()
                except OSError:
                    # The client died while it was held: that is what the test did.
                    self.close_connection = True
                return answer.status

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

        return Handler


class Wire:
    """A TCP proxy: ``mode`` pass, refuse (nobody answers at the port), blackhole (accepts and says nothing on); further
    ``latency`` in seconds a piece, ``rate`` in bytes a second, and ``cut`` for what is open now."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.mode, self.latency, self.rate = "pass", 0.0, 0
        # What it did: when, and refuse, blackhole, cut, delay or pass.
        self.log: list[tuple[float, str]] = []
        self.pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def did(self, what: str) -> int:
        """How often it did that."""
        return sum(1 for _, each in self.log if each == what)

    def note(self, what: str) -> None:
        """Into the log."""
        self.log.append((time.time(), what))

    def cut(self) -> int:
        """Break every connection there is; how many there were."""
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            self.note("cut")
            _close(*pair)
        return len(pairs)

    def heal(self) -> None:
        """Everything passes again."""
        self.mode, self.latency, self.rate = "pass", 0.0, 0

    def stop(self) -> None:
        """No more connections."""
        self.ended = True
        self.listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self.ended:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                self.note("refuse")
                # A reset, as from a port nobody listens at.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                client.close()
                continue
            threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self.lock:
            self.pairs.add((client, server))
        self.note("pass")
        self._pump(client, server)
        with self.lock:
            self.pairs.discard((client, server))
        _close(client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while not self.ended:
            try:
                ready, _, _ = select.select([client, server], [], [], 1.0)
                for source in ready:
                    piece = source.recv(65536)
                    if not piece:
                        return
                    if not self._hinder(piece):
                        other[source].sendall(piece)
            except (OSError, ValueError):
                return

    def _hinder(self, piece: bytes) -> bool:
        """True if the piece is lost."""
        if self.mode == "blackhole":
            self.note("blackhole")
            return True
        if self.mode == "refuse":
            self.note("refuse")
            raise OSError("refused")
        pause = self.latency + (len(piece) / self.rate if self.rate else 0)
        if pause:
            self.note("delay")
            time.sleep(pause)
        return False


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        # It may be closed from the other side already.
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
