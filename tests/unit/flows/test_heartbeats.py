"""Heartbeats: written down before use, standing at the same place ever after."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from detector_kit import KEY, Tape, at
from orjson import dumps

from flows.control import ControlLog
from flows.heartbeats import Idle
from flows.lanes import LaneTime
from flows.sources import BytesSource, ScanOptions

OPTIONS = ScanOptions(KEY, "default", 4096)


def block(*seconds: float) -> bytes:
    tape = Tape()
    for number, second in enumerate(seconds):
        tape.new(second, f"o{number}", event_id=f"{second}")
    return b"".join(dumps(event) + b"\n" for event in tape.events)


DATA = [block(1, 2), block(100, 101), block(900, 901)]


def source(control: Path | None, made: Iterable[bytes | Idle]) -> BytesSource:
    pieces = list(made)
    return BytesSource("live", lambda _first: iter(pieces), OPTIONS, control)


def shape(items: Iterable[object]) -> list[tuple[int, int, int]]:
    blocks = [item.scan() for item in items]  # type: ignore[attr-defined]
    return [(b.number, len(b.columns), b.times.high_ns) for b in blocks]


def test_a_pause_becomes_a_block_without_rows_that_moves_the_lanes_time(tmp_path: Path) -> None:
    made = [DATA[0], Idle(at(99)), DATA[1]]
    time = LaneTime()
    reached = []
    for item in source(tmp_path / "c", made).items(0, 0):
        time.advance(item.scan().times)
        reached.append(time.high_ns)
    assert reached == [at(1), at(99), at(100), at(100)]


def test_it_is_written_down_before_it_is_given(tmp_path: Path) -> None:
    items = source(tmp_path / "c", [DATA[0], Idle(at(99)), DATA[1]]).items(0, 0)
    next(items)
    next(items)
    with closing(ControlLog(tmp_path / "c")) as control:
        (record,) = control.read()
    assert (record.kind, record.lane, record.effective_ns) == ("heartbeat", "live", at(99))
    assert record.body == {"number": 1, "time_ns": str(at(99))}


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize(
    "again",
    [DATA, [DATA[0], DATA[1], Idle(at(500)), DATA[2]]],
    ids=["without a pause", "with another pause"],
)
def test_going_on_finds_it_at_the_same_place(
    tmp_path: Path, first: int, again: list[bytes | Idle]
) -> None:
    made = [DATA[0], Idle(at(50)), Idle(at(99)), DATA[1], Idle(at(800)), DATA[2]]
    whole = shape(source(tmp_path / "c", made).items(0, 0))
    assert [number for number, _, _ in whole] == list(range(7))
    resumed = shape(source(tmp_path / "c", again).items(0, first))
    kept = [entry for entry in resumed if entry[2] != at(500)]
    assert [entry[1:] for entry in kept] == [entry[1:] for entry in whole[first:]]


def test_a_mere_look_writes_none(tmp_path: Path) -> None:
    looked = shape(source(None, [DATA[0], Idle(at(99)), DATA[1]]).items(0, 0))
    assert [rows for _, rows, _ in looked] == [2, 2, 0]
    assert list(tmp_path.iterdir()) == []
