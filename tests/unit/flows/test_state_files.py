"""State in files of its own: what is taken up is what was kept, whatever died meanwhile."""

import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Event, Timer
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.manifest import DataFolderError
from flows.packing import Packed
from flows.state_files import (
    JOBS_AT_ONCE,
    LOG_SHARE,
    LOG_SHARE_MOST,
    Compactor,
    PointedState,
    ShardFiles,
)
from flows.state_pages import PAGE_BYTES, PAGE_WORDS, PackedPages, PageHashes, page_hash
from flows.state_segments import Segment, StateFileError, read_segments

Tree = dict[str, Any]


class Later(Compactor):
    """Compacts when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[tuple[Future[Segment], Callable[[], Segment]]] = []

    def submit(self, job: Callable[[], Segment]) -> "Future[Segment]":
        future: Future[Segment] = Future()
        self.jobs.append((future, job))
        return future

    def work(self) -> None:
        for future, job in self.jobs:
            future.set_result(job())
        self.jobs.clear()


class Busy(Later):
    """Has room for so many jobs, and does none."""

    @property
    def has_room(self) -> bool:
        return len(self.jobs) < JOBS_AT_ONCE


def tree_of(rng: np.random.Generator, size: int = 5_000) -> Tree:
    return {
        "rows": rng.integers(0, 3, size, np.uint8),
        "more": [(rng.integers(0, 255, 700, np.uint8), "text", 7)],
        "none": np.zeros(0, np.uint8),
    }


def plain(tree: Any) -> Any:
    if isinstance(tree, np.ndarray | bytes):
        return bytes(tree)
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(one) for one in tree] if isinstance(tree, list | tuple) else tree


def changed(tree: Tree, rng: np.random.Generator, count: int = 3) -> Tree:
    rows = tree["rows"].copy()
    rows[rng.integers(0, len(rows), count)] += 1
    return tree | {"rows": rows}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_what_is_kept_comes_back_at_every_generation(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    later = Later()
    files = ShardFiles(tmp_path / "s", 0, later)
    tree = tree_of(rng)
    for number in range(60):
        state = files.keep(tree)
        assert isinstance(state, PointedState)
        if number % 7 == 3:
            later.work()
        copied = tmp_path / f"c{number}"
        copied.mkdir()
        for segment in state.pointer.segments:  # as after a crash: nothing else is needed
            data = (tmp_path / "s" / segment.name).read_bytes() + b"torn"
            (copied / segment.name).write_bytes(data[: segment.size + 2])
        (copied / "log-orphan").write_bytes(b"of a run that died")
        again = ShardFiles(copied, 0, Later())
        assert plain(again.take_up(state)) == plain(tree)
        assert names(copied) == {segment.name for segment in state.pointer.segments}
        tree = changed(tree, rng, 400) if number % 5 else tree_of(rng, 4_000 + 300 * number)
    assert len(names(tmp_path / "s")) < 12
    assert "base-" in state.pointer.segments[0].name
    assert state.pointer.segments[0].name != "base-0000000001", "it was never compacted"


def test_a_snapshot_writes_what_changed_and_nothing_where_nothing_did(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    files = ShardFiles(tmp_path, 0, Later())
    tree = tree_of(rng, 400_000)
    first = files.keep(tree).pointer
    same = files.keep(tree).pointer
    assert same.segments == first.segments
    delta = files.keep(changed(tree, rng, 1)).pointer.segments[-1]
    assert delta.size < 3 * PAGE_BYTES
    assert first.segments[0].size > 400_000 // 4


def test_files_stay_until_no_recent_snapshot_points_to_them(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    later = Later()
    files = ShardFiles(tmp_path, 0, later)
    tree = tree_of(rng)
    pointers = []
    for number in range(40):
        tree = changed(tree, rng, 500)
        pointers.append(files.keep(tree).pointer)
        later.work()
        for pointer in pointers[-3:]:
            assert read_segments(tmp_path, pointer.segments), number
    assert not {s.name for s in pointers[0].segments} & names(tmp_path)


def test_a_run_goes_on_behind_what_it_took_up(tmp_path: Path, rng: np.random.Generator) -> None:
    tree = tree_of(rng)
    first = ShardFiles(tmp_path, 0, Later())
    first.keep(tree)
    taken = first.keep(changed(tree, rng))
    first.keep(changed(tree, rng))  # its epoch never completed
    second = ShardFiles(tmp_path, 0, Later())
    held = second.take_up(taken)
    held["rows"] = held["rows"].copy()
    held["rows"][5] += 1
    after = second.keep(held)
    assert [s.name for s in after.pointer.segments[:2]] == [s.name for s in taken.pointer.segments]
    assert plain(ShardFiles(tmp_path, 0, Later()).take_up(after)) == plain(held)


def test_state_below_the_bound_goes_into_the_snapshot_whole(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    files = ShardFiles(tmp_path / "s", 10_000, Later())
    small, large = tree_of(rng, 2_000), tree_of(rng, 20_000)
    state = files.keep(small)
    assert isinstance(state["rows"], Packed)
    small["rows"][0] += 1
    assert plain(files.take_up(state)) != plain(small), "it is a copy"
    assert not (tmp_path / "s").exists()
    assert isinstance(files.keep(large), PointedState)
    assert isinstance(files.keep(tree_of(rng, 6_000)), PointedState)  # no changing to and fro
    for _ in range(4):
        assert plain(files.keep(small)["more"][0][1]) == "text"
    assert names(tmp_path / "s") == set()
    assert isinstance(files.keep(large), PointedState)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda p: p.unlink(), "is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "bytes instead of"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x99"), "holds other bytes"),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_file_stops_the_start_and_says_what_to_do(
    tmp_path: Path, rng: np.random.Generator, harm: Callable[[Path], Any], told: str, which: int
) -> None:
    files = ShardFiles(tmp_path, 0, Later())
    tree = tree_of(rng)
    files.keep(tree)
    state = files.keep(changed(tree, rng))
    harm(tmp_path / state.pointer.segments[which].name)
    with pytest.raises(StateFileError, match=told) as caught:
        ShardFiles(tmp_path, 0, Later()).take_up(state)
    assert isinstance(caught.value, DataFolderError)
    assert "start again with another --data" in str(caught.value)


def test_a_compactor_counts_the_jobs_that_wait() -> None:
    compactor, go_on = Compactor(), Event()
    segment = Segment("base", 1, "")

    def job() -> Segment:
        go_on.wait()
        return segment

    futures = [compactor.submit(job) for _ in range(JOBS_AT_ONCE)]
    assert not compactor.has_room
    go_on.set()
    assert [future.result(timeout=30) for future in futures] == [segment] * JOBS_AT_ONCE
    compactor.submit(job).result(timeout=30)  # behind it the callbacks of all others are done
    assert compactor.has_room


def test_a_compactor_that_is_closed_has_written_its_last() -> None:
    compactor, begun, go_on = Compactor(), Event(), Event()
    compactor.close()
    done: list[int] = []

    def job(number: int) -> Segment:
        begun.set()
        assert go_on.wait(30)
        done.append(number)
        return Segment("base", 1, "")

    for number in range(3):
        compactor.submit(partial(job, number))
    assert begun.wait(30)
    Timer(0.1, go_on.set).start()
    compactor.close()
    assert done == [0], "the one under way, and no other"
    assert compactor.has_room
    assert compactor.submit(partial(job, 7)).result(timeout=30).name == "base", "another run's"
    compactor.close()


def test_a_compactor_that_fails_stops_the_flow(tmp_path: Path, rng: np.random.Generator) -> None:
    files = ShardFiles(tmp_path, 0, Compactor())
    tree = tree_of(rng)
    base = files.keep(tree).pointer.segments[0]
    (tmp_path / base.name).unlink()

    def go_on(tree: Tree) -> None:
        for _ in range(1_000):
            tree = changed(tree, rng, 500)
            files.keep(tree)

    with pytest.raises(StateFileError, match="is missing"):
        go_on(tree)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=3 * PAGE_BYTES), min_size=1, max_size=6))
def test_changed_pages_alone_bring_an_old_array_up_to_date(versions: list[bytes]) -> None:
    hashes = PageHashes()
    held = np.zeros(0, np.uint8)
    for version in versions:
        data = np.frombuffer(version, np.uint8)
        pages = hashes.changed({"a": data})["a"]
        whole = np.zeros(-(-len(data) // PAGE_BYTES) * PAGE_BYTES, np.uint8)
        kept = min(len(held), len(data))
        whole[:kept] = held[:kept]
        PackedPages.of(data, pages).put(whole)
        held = whole[: len(data)]
        assert held.tobytes() == version
        assert len(hashes.changed({"a": data})["a"]) == 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=3 * PAGE_BYTES), min_size=1, max_size=8))
def test_an_array_that_shrank_and_grew_comes_back_as_it_was_last(versions: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        files = ShardFiles(Path(name), 0, Later())
        for version in versions:
            state = files.keep({"a": np.frombuffer(version, np.uint8)})
        assert plain(ShardFiles(Path(name), 0, Later()).take_up(state)) == {"a": versions[-1]}


def test_few_shards_at_a_time_write_their_bases_anew(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    later = Busy()
    all_files = [ShardFiles(tmp_path / str(n), 0, later) for n in range(2 * JOBS_AT_ONCE)]
    tree = tree_of(rng)
    base = all_files[0].keep(tree).pointer.segments[0].size
    logged = 0
    while logged < LOG_SHARE_MOST * base:
        pointers = [files.keep(tree).pointer for files in all_files]
        logged = sum(segment.size for segment in pointers[-1].segments[1:])
        if LOG_SHARE * base < logged < LOG_SHARE_MOST * base:
            assert len(later.jobs) == JOBS_AT_ONCE, "the others wait for their turn"
        tree = changed(tree, rng, 500)
    assert len(later.jobs) == len(all_files), "but not for ever"


@settings(deadline=None)
@given(st.integers(0, PAGE_WORDS - 1), st.integers(1, 2**64 - 1), st.binary(min_size=PAGE_BYTES))
def test_a_page_that_differs_in_one_word_has_another_hash(
    place: int, change: int, data: bytes
) -> None:
    words = np.frombuffer(data[:PAGE_BYTES], np.uint64).copy()
    before = page_hash(words, 0)
    words[place] ^= np.uint64(change)
    assert page_hash(words, 0) != before
