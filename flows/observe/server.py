"""A small HTTP server in a thread of its own: /metrics, /livez, /readyz."""

import errno
import socket
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from flows.config import Config, ConfigError
from flows.observe.health import Answer, Health

SETTING: Final = "metrics.listen"
REQUESTS_MAX: Final = 8  # at once; a further one is turned away, so that nobody can fill memory
_TIMEOUT_SECONDS: Final = 5  # a client that says nothing for so long is let go
_PORT_MAX: Final = 65_535
_TEXT: Final = "text/plain; charset=utf-8"


class Address(NamedTuple):
    """Where one process listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as people do."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """IPv6 for a host written with colons, else IPv4."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


def addresses(config: Config, processes: int) -> list[Address]:
    """Return where each process listens; nothing where metrics are off.

    Raises
    ------
    ConfigError
        If the setting is no HOST:PORT, or the last process would have a port above 65535.
    """
    text = str(config.value(SETTING))
    if not text:
        return []
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    last = _PORT_MAX - processes + 1
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= last:
        expected = f"HOST:PORT with a port from 1 to {last}, as in 127.0.0.1:9464"
        raise ConfigError(config.origin(SETTING), SETTING, repr(text), expected)
    return [Address(host, int(port) + k) for k in range(processes)]


def busy(config: Config, address: Address, error: OSError) -> ConfigError:
    """Return the error that says why nobody can listen there."""
    why = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        why = "somebody listens there already"
    expected = f"a free address for each process (process k listens on PORT + k; {address} is not)"
    return ConfigError(config.origin(SETTING), SETTING, why, expected)


def check_free(config: Config, wanted: list[Address]) -> None:
    """Refuse ports that are taken before any process is started.

    Raises
    ------
    ConfigError
        Naming the first address that is not free.
    """
    for address in wanted:
        with closing(socket.socket(address.family)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
                probe.listen(1)
            except OSError as error:
                raise busy(config, address, error) from error


class Server:
    """Serves one process's registry and health until closed.

    Raises
    ------
    OSError
        If it cannot listen.
    """

    def __init__(self, address: Address, registry: CollectorRegistry, health: Health) -> None:
        self._http = _Http(address, registry, health)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client must not hold up the end of a run

    def __init__(self, address: Address, registry: CollectorRegistry, health: Health) -> None:
        self.address_family = address.family
        self.registry = registry
        self.health = health
        self._places = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for our own name, which can take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a request to a thread, if one may still be started."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a request and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out the trace of a client that went away; one of our own making is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = _TIMEOUT_SECONDS
    server_version = "tapewatch"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.server.registry), content_type)
        elif path == "/livez":
            self._tell(self.server.health.live())
        elif path == "/readyz":
            self._tell(self.server.health.ready())
        else:
            self._answer(404, b"Not here; there is /metrics, /livez and /readyz.\n", _TEXT)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def _tell(self, answer: Answer) -> None:
        self._answer(200 if answer.is_good else 503, f"{answer.sentence}\n".encode(), _TEXT)

    def _answer(self, code: int, body: bytes, content_type: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's own name
        """Say nothing: standard error is for people."""
