"""Progress of long work, on standard error, where somebody is looking."""

import sys
from types import TracebackType
from typing import Final, Protocol, Self

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from console import screen

STARTING: Final = "starting (the first run compiles kernels)"


class RunState(Protocol):
    """What a run reports, as ``flows.writer.Progress`` has it; that would import a database."""

    events: int
    alerts: int
    blocks: int


class Rate(ProgressColumn):
    """Count a second, over the whole time."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    def render(self, task: Task) -> Text:
        """Show it."""
        count = task.fields[self._field]
        rate = count / task.elapsed if task.elapsed else 0.0
        return Text(f"{count:,} events, {rate:,.0f}/s")


class _Bar:
    """A bar that is there only where standard error is a terminal."""

    def __init__(self, total: int | None, text: str) -> None:
        self._progress: Progress | None = None
        if not screen.is_terminal(sys.stderr):
            return
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            Rate("events"),
            TimeElapsedColumn(),
            console=screen.err(),
            transient=True,
        )
        self._task = self._progress.add_task(text, total=total, events=0)

    def __enter__(self) -> Self:
        """Show it."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: int, events: int, text: str) -> None:
        """Bring it up to date."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, events=events, description=text)


class RunProgress(_Bar):
    """Progress of a run, by blocks of input."""

    def __init__(self, block_count: int | None) -> None:
        super().__init__(block_count, STARTING)

    def update(self, state: RunState) -> None:
        """Take what the writer reports."""
        if state.events:
            self.show(state.blocks, state.events, f"{state.alerts:,} alerts")


class CountProgress(_Bar):
    """Progress of work whose size is known."""

    def __init__(self, total: int | None, text: str) -> None:
        super().__init__(total, text)
        self._text = text

    def update(self, done: int) -> None:
        """Take how much is done."""
        self.show(done, done, self._text)
