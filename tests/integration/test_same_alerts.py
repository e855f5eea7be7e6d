"""The same events give the same alerts, however they are cut, dealt, stored or shared out."""

import copy
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from detectors.core.registry import params_types
from flows.config import load
from flows.datafolder import Paths
from flows.plan import InputSpec, Plan
from flows.replay import RunOptions, run
from lab.bench import inputs
from lab.bench.content import Content, compare, read_content
from lab.bench.crash import SETTINGS
from schemas.hashing import murmur2_bytes

EVENTS, SEED, ACCOUNTS = 28_000, 3, 600
RULES = (
    *(setting for setting in SETTINGS if setting.startswith(("detectors.", "packs."))),
    "detectors.order_rate.actions_min=20",
    "detectors.cancel_count.cancels_min=10",
)
SMALL_BLOCKS = "intake.block_bytes=65536"
Replay = Callable[..., Content]


@pytest.fixture(scope="module")
def clean() -> list[bytes]:
    return inputs.market_lines(EVENTS, SEED, ACCOUNTS)


@pytest.fixture(scope="module")
def day(clean: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a day with damaged, repeated and late lines in it."""
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    inputs.write_lines(path, inputs.roughen(clean, SEED))
    return path


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """Return a function that runs files on a fresh folder, always with the same pepper."""
    folder = tmp_path_factory.mktemp("data")

    def replay(
        files: Sequence[Path], *settings: str, engine: Any = "loop", processes: int = 1
    ) -> Content:
        data = folder / str(len(list(folder.iterdir())))
        keys = Paths(data).keys
        keys.mkdir(mode=0o700, parents=True)
        (keys / "pepper").write_bytes(bytes(range(32)))
        (keys / "pepper").chmod(0o600)
        Paths(data).lock.touch()
        flags = (*RULES, *settings)
        config = load(flags, {"data": str(data)}, detectors=params_types(), environment={})
        plan = Plan(data, tuple(InputSpec(name=str(file)) for file in files), config)
        options = RunOptions(
            engine=engine,
            processes=processes,
            worker_command=(sys.executable, "-m", "console.cli", "worker"),
            flags=flags,
        )
        assert run(plan, options).is_complete
        return read_content(data)

    return replay


@pytest.fixture(scope="module")
def expected(day: Path, replay: Replay) -> Content:
    """Return what the plain loop makes of the day in blocks and batches of the default size."""
    return replay([day])


def assert_same(expected: Content, found: Content) -> None:
    difference = compare(expected, found)
    assert difference.is_none, str(difference)


def test_the_day_has_enough_in_it_to_compare(expected: Content) -> None:
    summary = expected.parts["summary"]
    assert not expected.faults
    assert len(expected.parts["alerts"]) > 100
    assert len({alert["detector"] for alert in expected.parts["alerts"].values()}) == 10
    assert len(expected.parts["alert_updates"]) > 30
    assert len(expected.parts["notices"]) > 5
    assert summary["late"] > 5
    assert summary["duplicates"] > 2
    assert len(expected.parts["dead_letters"]) > 20
    assert len(expected.parts["peers"]) > 5


def test_parties_stand_in_several_shards(expected: Content) -> None:
    alerts = [a for a in expected.parts["alerts"].values() if a["detector"] == "self_trading"]
    pairs = [
        {
            murmur2_bytes(one["account_id"].encode()) % 16
            for one in json.loads(a["evidence"])["accounts"]
        }
        for a in alerts
    ]
    assert len(alerts) > 5
    assert sum(len(shards) > 1 for shards in pairs) > 3
    assert sum(a["detector"] == "self_trading" for a in parents_of_updates(expected)) > 0


def parents_of_updates(content: Content) -> list[dict[str, Any]]:
    return [
        content.parts["alerts"][row["alert_id"]] for row in content.parts["alert_updates"].values()
    ]


@pytest.mark.parametrize("rows", [1, 7, 8_000, 64_000])
def test_batches_of_any_size_give_the_same(
    day: Path, replay: Replay, expected: Content, rows: int
) -> None:
    assert_same(expected, replay([day], f"intake.batch_rows={rows}"))


@pytest.mark.parametrize("size", [4_096, 65_536, 1_000_003])
def test_blocks_of_any_size_give_the_same(
    day: Path, replay: Replay, expected: Content, size: int
) -> None:
    assert_same(expected, replay([day], f"intake.block_bytes={size}"))


@pytest.mark.parametrize("shards", [1, 16])
def test_any_number_of_shards_gives_the_same(
    day: Path, replay: Replay, expected: Content, shards: int
) -> None:
    assert_same(expected, replay([day], SMALL_BLOCKS, f"shards={shards}"))


@pytest.mark.parametrize("shards", [1, 32])
def test_the_engine_gives_the_same_as_the_plain_loop(
    day: Path, replay: Replay, expected: Content, shards: int
) -> None:
    settings = (SMALL_BLOCKS, f"shards={shards}", "epoch_seconds=0.05")
    assert_same(expected, replay([day], *settings, engine="bytewax"))


@pytest.mark.parametrize("shards", [1, 32])
def test_two_processes_give_the_same_as_one(
    day: Path, replay: Replay, expected: Content, shards: int
) -> None:
    settings = (SMALL_BLOCKS, f"shards={shards}", "epoch_seconds=0.05")
    assert_same(expected, replay([day], *settings, engine="bytewax", processes=2))


def test_gzip_gives_the_same_as_the_plain_file(
    day: Path, replay: Replay, expected: Content, tmp_path: Path
) -> None:
    packed = tmp_path / "day.ndjson.gz"
    packed.write_bytes(gzip.compress(day.read_bytes(), mtime=0))
    assert_same(without_places(expected), without_places(replay([packed], SMALL_BLOCKS)))


@pytest.mark.parametrize("engine", ["loop", "bytewax"])
def test_two_files_by_account_merge_into_the_same(
    clean: list[bytes], replay: Replay, tmp_path: Path, engine: str
) -> None:
    whole, even, odd = (tmp_path / name for name in ("day.ndjson", "even.ndjson", "odd.ndjson"))
    inputs.write_lines(whole, clean)
    inputs.write_lines(even, [line for line in clean if not is_odd(line)])
    inputs.write_lines(odd, [line for line in clean if is_odd(line)])

    one = replay([whole], SMALL_BLOCKS)
    two = replay([even, odd], SMALL_BLOCKS, engine=engine)

    assert len(one.parts["alerts"]) > 100
    assert_same(without_places(one), without_places(two))


def is_odd(line: bytes) -> bool:
    account: str = json.loads(line).get("account_id", "")
    return sum(account.encode()) % 2 == 1


def without_places(content: Content) -> Content:
    """Leave out where lines stood, which is all that may differ between files of other names."""
    content = copy.deepcopy(content)
    for table in ("alerts", "alert_updates"):
        for row in content.parts[table].values():
            del row["positions"]
    for entry in content.parts["entries"].values():
        del entry["src"]
    content.parts["dead_letters"] = {
        str(row["byte_offset"]): {k: v for k, v in row.items() if k not in {"id", "lane"}}
        for row in content.parts["dead_letters"].values()
    }
    return content
