"""Live features and the alert stream: sent after every commit, and never waited for.

Both are caches of what store and ledger hold: where Redis is down, the run goes on, keeps the
newest state of each account that changed since, and sends it when Redis is back.
"""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from detectors.core.features import HandOut
from detectors.core.findings import day_name
from flows import clock
from flows.edges.redis_features import FeatureCache, FeatureRow, open_features
from flows.edges.redis_stream import AlertStream, StreamEntry, open_stream
from flows.edges.redis_url import CacheDownError
from flows.messages import alert_object
from flows.store.rows import AlertRow
from schemas.events import SECOND_NS

if TYPE_CHECKING:
    from flows.steps import ShardMessage

SETTINGS: Final = ("outputs.features", "outputs.alert_stream")
PPM: Final = 1_000_000
_PAUSE_MIN_NS: Final = SECOND_NS
_PAUSE_MAX_NS: Final = 30 * SECOND_NS


@dataclass(slots=True)
class Patience:
    """When to try again: after a second, then twice as long each time, half a minute at most."""

    failures: int = 0
    pause_ns: int = 0
    not_before_ns: int = 0
    is_down: bool = False

    def is_due(self) -> bool:
        """Say whether to try."""
        return not self.is_down or clock.monotonic_ns() >= self.not_before_ns

    def failed(self) -> bool:
        """Note a failure; say whether it is the first since it last went well."""
        was_down, self.is_down = self.is_down, True
        self.failures += 1
        self.pause_ns = min(max(2 * self.pause_ns, _PAUSE_MIN_NS), _PAUSE_MAX_NS)
        self.not_before_ns = clock.monotonic_ns() + self.pause_ns
        return not was_down

    def went_well(self) -> None:
        """Note that it went well."""
        self.is_down, self.pause_ns = False, 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - said once, whatever is logged


@dataclass(slots=True)
class LiveOutputs:
    """What goes to Redis.

    Attributes
    ----------
    features, stream
        Where each goes; None: nowhere.
    run_key
        Names the run.
    on_point
        Passed before and after sending, for crash tests.
    say
        Told once, in a sentence, when Redis is down.
    waiting, entries
        What was not taken yet: the newest of each account, and the newest entries of the stream.
    dropped
        Entries that the stream never got: more had to wait than it holds.
    """

    features: FeatureCache | None = None
    stream: AlertStream | None = None
    run_key: str = ""
    on_point: Callable[[str], None] = lambda _point: None
    say: Callable[[str], None] = _say
    waiting: dict[tuple[str, str], FeatureRow] = field(default_factory=dict)
    entries: deque[StreamEntry] = field(default_factory=deque)
    patience: Patience = field(default_factory=Patience)
    sent: int = 0
    dropped: int = 0

    def send(self, messages: "Sequence[ShardMessage]", alerts: Sequence[AlertRow]) -> None:
        """Send what was just committed, and what had to wait."""
        if self.features is None and self.stream is None:
            return
        if self.features is not None:
            for message in messages:
                if message.features is not None:
                    self._keep(message.features)
        if self.stream is not None:
            self._keep_alerts(self.stream, alerts)
        if (self.waiting or self.entries) and self.patience.is_due():
            self.on_point("live.before_send")
            self._try()
            self.on_point("live.after_send")

    def _keep(self, handed: HandOut) -> None:
        rows = handed.rows
        columns = {name: rows[name].tolist() for name in _COLUMNS}
        for place, (tenant, account_id) in enumerate(handed.names):
            row = {name: column[place] for name, column in columns.items()}
            # Counts that began anew are another row of counts, never compared with the one before.
            run = f"{self.run_key}:{handed.since}:{row['first_event_time_ns']}"
            self.waiting[tenant, account_id] = FeatureRow(
                tenant, account_id, run, row["applied"], fields_of(row, handed.since)
            )

    def _keep_alerts(self, stream: AlertStream, alerts: Sequence[AlertRow]) -> None:
        self.entries.extend(
            StreamEntry(row.alert_id, row.state, row.update_count, orjson.dumps(alert_object(row)))
            for row in alerts
        )
        while len(self.entries) > stream.entries_max:  # the stream would drop it as well
            self.entries.popleft()
            self.dropped += 1

    def _try(self) -> None:
        try:
            if self.features is not None and self.waiting:
                self.sent += self.features.put(list(self.waiting.values()))
                self.waiting.clear()
            if self.stream is not None and self.entries:
                self.stream.add(self.entries)
                self.entries.clear()
        except CacheDownError as error:
            if self.patience.failed():
                self.say(
                    f"{error}. The run goes on, and sends live features and the alert stream when "
                    "Redis takes them again."
                )
        else:
            self.patience.went_well()

    def close(self) -> None:
        """Try once more to send what waits, and let go."""
        if self.waiting or self.entries:
            self._try()
        for output in (self.features, self.stream):
            if output is not None:
                output.close()


_COLUMNS: Final = (
    *(
        "applied",
        "first_event_time_ns",
        "last_event_time_ns",
        "day",
        "orders",
        "cancels",
        "fills",
        "open_orders",
    ),
    *("fill_units", "fill_wins", "order_units", "order_wins"),
)
_AS_THEY_ARE: Final = ("orders", "cancels", "fills", "open_orders", "last_event_time_ns")
_UNITS: Final = ("fill_units", "fill_wins", "order_units", "order_wins")


def fields_of(row: Any, since: int = 0) -> dict[str, str]:
    """Return an account's features as the texts that are held.

    ``trading_day`` is empty before the first order, cancel or fill; ``cancel_ratio_ppm`` is
    cancels / (cancels + fills) of that day, rounded down, 0 where there is neither.
    """
    acted = row["cancels"] + row["fills"]
    return {
        "trading_day": day_name(row["day"]) if row["day"] else "",
        "cancel_ratio_ppm": str(PPM * row["cancels"] // acted if acted else 0),
        **{name: str(row[name]) for name in (*_AS_THEY_ARE, *_UNITS)},
        "since": str(since),
    }


def open_live(
    urls: tuple[str, str],
    ttl_seconds: int,
    run_key: str,
    on_point: Callable[[str], None] = lambda _point: None,
) -> LiveOutputs:
    """Open what the settings name: places of features and of the stream; empty is none."""
    return LiveOutputs(
        features=open_features(urls[0], ttl_seconds),
        stream=open_stream(urls[1]),
        run_key=run_key,
        on_point=on_point,
    )
