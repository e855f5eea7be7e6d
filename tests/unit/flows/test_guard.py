"""What stands between the engine and our steps: the first error is kept, epochs are told."""

from typing import Any

import pytest
from engine_parts import EACH, PanicException, Script, Sum, numbers, run_flow

from flows.guard import EnginePanicError, Guard, naming_panics
from flows.supervision import Pulse


class Beats(Pulse):
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def beat(self) -> None:
        self.count += 1


class Failing(Sum):
    def on_batch(self, values: list[int]) -> Any:
        raise ValueError(values)


def run(guard: Guard, logic: type[Sum], script: Script | None = None) -> list[Any]:
    out: list[Any] = []
    source = guard.source(script or Script(numbers(3)))
    run_flow(source, guard.call(lambda state: guard.logic(logic(state))), out, EACH)
    return out


def test_a_guarded_flow_does_what_it_would_do_alone() -> None:
    guard = Guard(Pulse())
    assert run(guard, Sum) == [("key", 1), ("key", 3), ("key", 6)]
    assert guard.error is None  # the end of a part is none


def test_every_epoch_is_a_beat_when_the_next_batch_is_asked_for() -> None:
    beats = Beats()
    run(Guard(beats), Sum)
    assert beats.count == 3


def test_the_first_error_is_kept_and_told_before_the_engine_knows() -> None:
    guard = Guard(Pulse())
    seen: list[BaseException | None] = []
    guard.on_error = lambda: seen.append(guard.error)
    with pytest.raises(Exception, match="on_batch"):
        run(guard, Failing)
    assert isinstance(guard.error, ValueError)
    assert seen == [guard.error]


def test_an_error_of_a_source_is_kept_too() -> None:
    def fail() -> None:
        raise KeyError

    guard = Guard(Pulse())
    with pytest.raises(Exception, match="next_batch"):
        run(guard, Sum, Script([fail]))
    assert isinstance(guard.error, KeyError)


def test_a_later_error_does_not_hide_the_first() -> None:
    guard = Guard(Pulse())
    for error in (ValueError, KeyError):
        with pytest.raises(error), guard.watching():
            raise error
    assert isinstance(guard.error, ValueError)


def test_a_panic_is_an_error_like_others() -> None:
    with pytest.raises(EnginePanicError, match="failed: Send thread panic"), naming_panics():
        raise PanicException("Send thread panic: Any { .. }")
    with pytest.raises(KeyboardInterrupt), naming_panics():
        raise KeyboardInterrupt
