"""Ask a watched process as Prometheus and a supervisor do, on loopback only."""

import socket
from contextlib import ExitStack, closing
from itertools import count
from urllib import request
from urllib.error import HTTPError

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
_OPENER = request.build_opener(request.ProxyHandler({}))
_TIMEOUT_SECONDS = 20


def free_ports(number: int) -> int:
    """Return the first of ``number`` neighbouring ports that nobody listens on just now."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        start = 20_000 + one.getsockname()[1] % 10_000  # below those handed out for connections
    for first in count(start, number):
        try:
            with ExitStack() as held:
                for port in range(first, first + number):
                    held.enter_context(closing(socket.socket())).bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and body."""
    try:
        with _OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=_TIMEOUT_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def scrape(port: int) -> Samples:
    """Return every sample of a process."""
    code, text = ask(port, "/metrics")
    assert code == 200
    return samples(text)


def samples(text: str) -> Samples:
    """Return every sample of an answer by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(found: Samples, name: str) -> dict[str, float]:
    """Return the samples of a metric with one label, by its value."""
    return {labels[0][1]: value for (other, labels), value in found.items() if other == name}
