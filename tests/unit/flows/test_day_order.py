"""Lines in order of event time: nothing lost, nothing added, ties and refused lines in place."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import day_order
from flows.day_order import write_in_order
from flows.edges.files import FileProblem

REFUSED = b'{"kind":"nothing"}\n'


def line(number: int, time_ns: int) -> bytes:
    event = {
        "kind": "app.event", "source": "s", "event_id": f"e{number}", "event_time_ns": time_ns,
        "account_id": "A", "name": "open",
    }  # fmt: skip
    return json.dumps(event).encode() + b"\n"


def in_order(lines: list[bytes]) -> tuple[list[bytes], int]:
    """Say it again, plainly: a refused line has the time of the line before it."""
    time_ns, keyed = -(2**62), []
    for one in lines:
        time_ns = json.loads(one).get("event_time_ns", time_ns)
        keyed.append((time_ns, one))
    moved = sum(keyed[i][0] < max(k for k, _ in keyed[: i + 1]) for i in range(len(keyed)))
    return [one for _, one in sorted(keyed, key=lambda pair: pair[0])], moved


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.one_of(st.none(), st.integers(10**18, 10**18 + 9)), max_size=30),
    read_bytes=st.integers(1, 400),
    ends=st.booleans(),
)
def test_it_is_a_stable_sort(times: list[int | None], read_bytes: int, ends: bool) -> None:
    lines = [REFUSED if t is None else line(i, t) for i, t in enumerate(times)]
    expected, moved = in_order(lines)
    data = b"".join(lines)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as name:
        folder = Path(name)
        patch.setattr(day_order, "READ_BYTES", read_bytes)
        patch.setattr(day_order, "_PART_LINES", 4)
        source, out = folder / "a.ndjson", folder / "b.ndjson"
        source.write_bytes(data if ends else data[:-1])
        told: list[int] = []
        found = write_in_order(source, out, told.append)
        assert out.read_bytes() == b"".join(expected)
        assert (found.lines, found.moved) == (len(lines), moved)
        assert told == [*range(4, len(lines) + 1, 4), len(lines)]


def test_a_packed_file_or_its_own_name_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.ndjson"
    source.write_bytes(line(1, 10**18))
    with pytest.raises(FileProblem, match="in place"):
        write_in_order(source, source, lambda _lines: None)
    assert source.read_bytes() == line(1, 10**18)
    source.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(FileProblem, match="packed"):
        write_in_order(source, tmp_path / "b.ndjson", lambda _lines: None)
    assert not (tmp_path / "b.ndjson").exists()
