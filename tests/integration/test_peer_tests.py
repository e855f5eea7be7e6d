"""Tests against own past and peers, over whole runs of several days."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import caller
from plan_parts import make_plan, spell
from tests_on_peers import ACCOUNTS, DAYS, FEW, busy_market

from detectors.core.plugins import PluginError
from flows.replay import RunOptions, run
from lab.bench.content import Content, compare, read_content

FLAGS = (
    "packs.added=peers",
    "calendar.default=24/7",
    *(
        f"detectors.{name}.{key}={value}"
        for name, null in (("certified_cancels", 0.3), ("certified_lifetime", 0.1))
        for key, value in (FEW | {"null_rate": null}).items()
    ),
    "detectors.certified_lifetime.quick_share=0.3",
    *(
        f"detectors.certified_burst.{key}={value}"
        for key, value in {
            "actions_min": 2,
            "alarms_a_day": 3_000,
            "baseline_windows_min": 4,
            "peers_min": 3,
            "tests": 1,
        }.items()
    ),
    "review.model=HalfSpaceTrees",
    "review.rows=3",
)
Replay = Callable[..., Content]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "days.ndjson"
    path.write_bytes(b"".join(map(spell, busy_market(1))))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def replay(days: Path, folder: Path) -> Replay:
    def replay(name: str, *more: str, engine: Any = "loop", processes: int = 1) -> Content:
        flags = (*FLAGS, *more)
        command = (sys.executable, "-m", "console.cli", "worker")
        options = RunOptions(
            engine=engine, processes=processes, worker_command=command, flags=flags
        )
        assert run(make_plan(folder / name, [days], flags), options).is_complete
        return read_content(folder / name)

    return replay


@pytest.fixture(scope="module")
def expected(replay: Replay) -> Content:
    return replay("loop")


def of_tests(content: Content) -> list[dict[str, Any]]:
    alerts = content.parts["alerts"].values()
    return [alert for alert in alerts if alert["detector"].startswith("certified_")]


def test_those_who_change_their_ways_are_found(expected: Content) -> None:
    assert not expected.faults
    alerts = of_tests(expected)
    tests = {"certified_burst", "certified_cancels", "certified_lifetime"}
    assert {alert["detector"] for alert in alerts} == tests
    assert {"A0", "A1"} <= {alert["account_id"] for alert in alerts}
    for alert in alerts:
        if alert["detector"] == "certified_burst":
            continue
        evidence = json.loads(alert["evidence"])
        assert evidence["share_ppm"] > evidence["null_ppm"]
        assert evidence["null_ppm"] > evidence["own_mean_ppm"]


def test_what_was_fixed_is_in_the_control_log(expected: Content) -> None:
    fixed = [body for key, body in expected.parts["peers"].items() if key.startswith("budget/")]
    assert {body["tier"] for body in fixed} == {"", "T"}
    assert {body["fixed"]["claim"] for body in fixed} >= {"claimed", "few buckets"}


def reviews(content: Content) -> list[dict[str, Any]]:
    return [body for key, body in content.parts["peers"].items() if key.startswith("review/")]


def test_each_tier_s_days_are_ranked(expected: Content) -> None:
    found = [body for body in reviews(expected) if not body["is_simulated"]]
    assert len(found) == 2 * DAYS, "the last day too, though no midnight followed"
    # Whoever began a day with simulated money stands elsewhere on it.
    assert all(0.8 * ACCOUNTS // 2 <= body["accounts"] <= ACCOUNTS // 2 for body in found)
    assert all(len(body["rows"]) == 3 for body in found)
    for body in found:
        scores = [float(row["score"]) for row in body["rows"]]
        assert scores == sorted(scores, reverse=True)


def test_a_function_ranks_instead_of_a_model(days: Path, folder: Path) -> None:
    flags = ("packs.enabled=source", "review.score=tests_on_peers:share_cancelled")
    options = RunOptions(engine="loop", processes=1, worker_command=(), flags=flags)
    assert run(make_plan(folder / "function", [days], flags), options).is_complete
    last = reviews(read_content(folder / "function"))[-2:]
    assert {body["rows"][0]["account_id"] for body in last} == {"A0", "A1"}
    assert {body["scored_by"] for body in last} == {"tests_on_peers:share_cancelled"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("review.model=Oracle", "there is no model 'Oracle'; there are HalfSpaceTrees"),
        ("review.score=nowhere:score", "'nowhere:score' cannot be loaded"),
        ("review.score=tests_on_peers:DAYS", "is no function"),
        ("review.score=tests_on_peers:no_number", "gave nan for"),
    ],
)
def test_what_cannot_rank_is_refused_with_a_sentence(
    days: Path, tmp_path: Path, setting: str, said: str
) -> None:
    options = RunOptions(engine="loop", processes=1, worker_command=(), flags=(setting,))
    with pytest.raises(PluginError, match=said):
        run(make_plan(tmp_path / "data", [days], [setting]), options)


@pytest.mark.parametrize("settings", [(), ("intake.batch_rows=77", "intake.block_bytes=65536")])
def test_the_engine_finds_the_same(
    expected: Content, replay: Replay, settings: tuple[str, ...]
) -> None:
    found = replay(f"engine-{len(settings)}", *settings, engine="bytewax")
    assert compare(expected, found).is_none, str(compare(expected, found))


def test_two_processes_find_the_same(expected: Content, replay: Replay) -> None:
    found = replay("two", engine="bytewax", processes=2)
    assert compare(expected, found).is_none, str(compare(expected, found))


def test_the_command_lists_what_was_fixed(
    folder: Path,
    expected: Content,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not expected.faults
    data = folder / "loop"
    call = caller(monkeypatch, capsys)
    monkeypatch.setenv("COLUMNS", "160")
    said = call("peers", "tests", "--data", data)
    assert said.code == 0
    assert "peers.cancels" in said.out
    assert "1 min" in said.out
    assert "claimed" in said.out
    rows = [
        json.loads(line)
        for line in call("peers", "tests", "--data", data, "--json").out.splitlines()
    ]
    assert {row["fixed"]["claim"] for row in rows} >= {"claimed", "few buckets"}
    ranked = call("peers", "review", "--data", data)
    assert ranked.code == 0
    assert " accounts" in ranked.out
    (first, *_) = call("peers", "review", "--data", data, "--json").out.splitlines()
    assert json.loads(first)["scored_by"] == "HalfSpaceTrees"
