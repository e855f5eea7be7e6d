"""What a live view knows: read from the store now and then, as any reader would."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from console.summary import nearest
from flows import clock
from flows.manifest import read_manifest
from flows.store import AlertRow, HeadroomRow, NoticeRow, StoreError, StoreReader
from flows.writer import Progress
from schemas.events import SECOND_NS

EVERY_SECONDS: Final = 0.5
QUIET_AFTER_NS: Final = 5 * SECOND_NS
RECENT: Final = 8
RATE_OVER_NS: Final = 3 * SECOND_NS


@dataclass(slots=True)
class Sight:
    """The newest of everything."""

    progress: Progress = field(default_factory=Progress)
    summary: dict[str, Any] = field(default_factory=dict)
    alerts: list[AlertRow] = field(default_factory=list)
    notices: list[NoticeRow] = field(default_factory=list)
    near: list[HeadroomRow] = field(default_factory=list)


class Watcher:
    """Looks into a data folder from a thread of its own, while a run writes to it.

    Parameters
    ----------
    data
        The data folder.
    on_notices
        Called with the notices there are, at each look.
    """

    def __init__(
        self, data: Path, on_notices: Callable[[list[NoticeRow]], None] = lambda _rows: None
    ) -> None:
        self.sight = Sight()
        self.began_ns = clock.monotonic_ns()
        self.first_alert_ns: int | None = None
        self._data = data
        self._on_notices = on_notices
        self._changed_ns = self.began_ns
        self._marks: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look for the last time."""
        self._stop.set()
        self._thread.join()

    def update(self, progress: Progress) -> None:
        """Take what the writer reports."""
        now_ns = clock.monotonic_ns()
        if progress.events != self.sight.progress.events:
            self._changed_ns = now_ns
        if progress.alerts and self.first_alert_ns is None:
            self.first_alert_ns = now_ns - self.began_ns
        self.sight.progress = progress
        self._marks.append((now_ns, progress.events))
        while self._marks[0][0] < now_ns - RATE_OVER_NS and len(self._marks) > 1:
            del self._marks[0]

    def state(self) -> str:
        """Return the word for how it goes."""
        if not self.sight.progress.events:
            return "no data yet"
        if self._stop.is_set():
            return "stopped"
        quiet_ns = clock.monotonic_ns() - self._changed_ns
        return "quiet" if quiet_ns > QUIET_AFTER_NS else "running"

    def rate(self) -> float:
        """Return events a second over the last seconds."""
        if not self._marks:
            return 0.0
        began_ns, events = self._marks[0]
        elapsed_ns = max(clock.monotonic_ns() - began_ns, SECOND_NS)
        return (self.sight.progress.events - events) * SECOND_NS / elapsed_ns

    def _look_on(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._look()
        self._look()

    def _look(self) -> None:
        manifest = read_manifest(self._data)
        if manifest is None or not (self._data / "store.sqlite3").is_file():
            return
        try:
            with StoreReader(self._data / "store.sqlite3") as store:
                row = store.summary(manifest.run_key)
                sight = self.sight
                sight.summary = {} if row is None else row.summary
                sight.alerts = store.alerts(limit=RECENT).rows
                sight.notices = store.notices().rows
                sight.near = nearest(store)
        except StoreError:
            return  # the run is just making it
        self._on_notices(self.sight.notices)
