"""``python -m lab.bench.paced_part JSON``: a run on a load that comes at its own pace.

The load is written by another process, as it falls due; how late an alert is counts from when its
event was due, so that a run which falls behind cannot hide it. Prints what it saw as JSON.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bytewax.inputs import StatefulSourcePartition
from msgspec import Struct
from msgspec import json as msgspec_json

from flows import clock
from flows.observe.observer import AlertMade, AlertStage, Observer, Part
from lab.bench.engine import plan_of, run_watched
from lab.bench.load import Feed, Load, Paced
from schemas.events import SECOND_NS

_WARM_ORDERS: Final = 2_000
_SCHEME: Final = "load"


class Asked(Struct, frozen=True, kw_only=True):
    """What to run: data folder, load, settings."""

    data: str
    paced: Paced
    settings: list[str] = []


class Seen(Struct, frozen=True, kw_only=True):
    """What was seen.

    Attributes
    ----------
    began_ns
        When the first event was due, by the steady clock.
    seconds
        From then to the end.
    alerts
        (seconds into the run at which the event was due, milliseconds until its alert was
        committed), in the order of commits; those of the account stage.
    aligned
        The same of alerts that stand behind align.
    summary
        The run's own.
    """

    began_ns: int
    seconds: float
    alerts: list[tuple[float, float]]
    aligned: list[tuple[float, float]]
    summary: dict[str, Any]


class Stopwatch(Observer):
    """Notes how long after its event was due each alert is durable in the ledger."""

    def __init__(self, feed: Feed, load: Load) -> None:
        self._feed = feed
        self._load = load
        self.alerts: dict[AlertStage, list[tuple[float, float]]] = {"account": [], "aligned": []}

    def part(self, part: Part, index: int, first: int) -> Part:
        """Ask for a block only when there is one, so that nobody waits in the engine's thread."""
        del index, first
        return _Patient(part, self._feed)

    def alerts_committed(self, alerts: Sequence[AlertMade]) -> None:
        """See ``Observer``."""
        since_ns = clock.monotonic_ns() - self._feed.began_ns
        for alert in alerts:
            due_ns = alert.event_time_ns - self._load.first_ns
            late_ms = (since_ns - due_ns) / 1e6
            self.alerts[alert.stage].append((due_ns / SECOND_NS, late_ms))


class _Patient(StatefulSourcePartition[Any, Any]):
    def __init__(self, inner: Part, feed: Feed) -> None:
        self._inner = inner
        self._feed = feed

    def next_batch(self) -> Any:
        return self._inner.next_batch() if self._feed.has_come() else []

    def snapshot(self) -> Any:
        return self._inner.snapshot()

    def close(self) -> None:
        self._inner.close()


def _warm(settings: Sequence[str]) -> None:
    """Have kernels compiled and calendars read before anything counts."""
    load = Load(accounts=100, burst_share=2, self_share=9)
    with tempfile.TemporaryDirectory(prefix="tapewatch-warm-") as folder:
        path = Path(folder) / "load.ndjson"
        path.write_bytes(load.lines(0, _WARM_ORDERS))
        run_watched(plan_of(Path(folder) / "data", str(path), settings), Observer())


def main(text: str) -> None:
    """Run, and print what was seen."""
    asked = msgspec_json.decode(text, type=Asked)
    _warm(asked.settings)
    feed = Feed(asked.paced)
    try:
        watch = Stopwatch(feed, asked.paced.load)
        plan = plan_of(Path(asked.data), f"{_SCHEME}://", asked.settings, {_SCHEME: feed.blocks})
        writer = run_watched(plan, watch)
        seconds = (clock.monotonic_ns() - feed.began_ns) / SECOND_NS
    finally:
        feed.close()
    assert writer is not None
    seen = Seen(
        began_ns=feed.began_ns,
        seconds=seconds,
        alerts=watch.alerts["account"],
        aligned=watch.alerts["aligned"],
        summary=writer.summary(),
    )
    sys.stdout.buffer.write(msgspec_json.encode(seen))


if __name__ == "__main__":
    main(sys.argv[1])
