"""What stands between the engine and all that it calls of ours, in one process of a run.

The engine runs our steps in a thread of its own. When one of them fails in a run of several
processes, the others lose their connection, and what the engine then raises is mostly its panic
about that: the error itself is lost. So the first error is kept here, where it happened. Here it is
seen, too, that an epoch has ended.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic

from flows.supervision import Pulse

Given = ParamSpec("Given")
Result = TypeVar("Result")

_PANIC: Final = "PanicException"  # of the engine; no module has it, and it is no Exception


class EnginePanicError(RuntimeError):
    """The engine itself failed, and nothing that it called did."""


def is_panic(error: BaseException) -> bool:
    """Say whether an error is the engine's own."""
    return type(error).__name__ == _PANIC


@contextmanager
def naming_panics() -> Iterator[None]:
    """Raise a panic of the engine as ``EnginePanicError``, which is handled as any other error."""
    try:
        yield
    except BaseException as error:
        if is_panic(error):
            raise EnginePanicError(f"The engine failed: {error}") from error
        raise


class Guard:
    """Keeps the first error, and tells of epochs.

    Parameters
    ----------
    pulse
        Told whenever an epoch has ended everywhere.

    Attributes
    ----------
    error
        What failed first in this process.
    on_error
        Called when it does, before the engine hears of it.
    """

    def __init__(self, pulse: Pulse) -> None:
        self.pulse = pulse
        self.error: BaseException | None = None
        self.on_error: Callable[[], None] = _nothing

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep what is raised inside; ``StopIteration`` is how a part ends."""
        try:
            yield
        except StopIteration:
            raise
        except BaseException as error:
            if self.error is None:
                self.error = error
                self.on_error()
            raise

    def call(self, function: Callable[Given, Result]) -> Callable[Given, Result]:
        """Return a function that the engine may call."""

        def guarded(*given: Given.args, **named: Given.kwargs) -> Result:
            with self.watching():
                return function(*given, **named)

        return guarded

    def logic(self, logic: StatefulBatchLogic[Any, Any, Any]) -> "GuardedLogic":
        """Return a step that the engine may run."""
        return GuardedLogic(logic, self)

    def source(self, source: FixedPartitionedSource[Any, Any]) -> "GuardedSource":
        """Return a source that the engine may read."""
        return GuardedSource(source, self)


def _nothing() -> None:
    pass


class GuardedLogic(StatefulBatchLogic[Any, Any, Any]):
    """A step of ours, called by the engine."""

    def __init__(self, inner: StatefulBatchLogic[Any, Any, Any], guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        """Take values."""
        with self._guard.watching():
            return self._inner.on_batch(values)

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        """End the input."""
        with self._guard.watching():
            return self._inner.on_eof()

    def snapshot(self) -> Any:
        """Copy the state."""
        with self._guard.watching():
            return self._inner.snapshot()


class GuardedSource(FixedPartitionedSource[Any, Any]):
    """A source of ours, read by the engine."""

    def __init__(self, inner: FixedPartitionedSource[Any, Any], guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    def list_parts(self) -> list[str]:
        """Name the parts; the engine asks once the processes are connected."""
        with self._guard.watching():
            return list(self._inner.list_parts())

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "GuardedPart":
        """Open one part where it stood."""
        with self._guard.watching():
            part = self._inner.build_part(step_id, for_part, resume_state)
            return GuardedPart(part, self._guard)


class GuardedPart(StatefulSourcePartition[Any, Any]):
    """A part of a source; asked for more after its snapshot, it knows the epoch to be durable."""

    def __init__(self, inner: StatefulSourcePartition[Any, Any], guard: Guard) -> None:
        self._inner = inner
        self._guard = guard
        self._is_saved = False

    def next_batch(self) -> Iterable[Any]:
        """Give the next blocks."""
        if self._is_saved:
            self._is_saved = False
            self._guard.pulse.beat()
        with self._guard.watching():
            return self._inner.next_batch()

    def snapshot(self) -> Any:
        """Return where to go on."""
        self._is_saved = True
        with self._guard.watching():
            return self._inner.snapshot()

    def next_awake(self) -> Any:
        """Say when to be asked again, as the part itself does."""
        return self._inner.next_awake()

    def close(self) -> None:
        """Let go of the part."""
        self._inner.close()
