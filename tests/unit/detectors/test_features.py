"""Live features in one process: counted as the referee counts, handed out in time, and resumed."""

from pathlib import Path

import naive_features
import pytest
from plan_parts import DAY_NS, lines, make_plan, story

from detectors.core import features as f
from detectors.core.features import HandOut
from flows.calendars import TradingDays
from flows.edges.redis_features import KEY_PREFIX, MemoryFeatures
from flows.lanes import NEVER_NS, deal
from flows.live_outputs import LiveOutputs
from flows.loop import run_loop
from flows.plan import Plan
from flows.sources import in_order
from flows.steps import AccountStep, ShardMessage
from lab.bench import inputs
from schemas.caches import cache_folder

ON = ("outputs.features=memory:", "shards=1", "intake.block_bytes=4096")
Held = dict[str, dict[str, str]]


def held(cache: MemoryFeatures) -> Held:
    return {
        key.removeprefix(f"{KEY_PREFIX}default:"): {n: v for n, v in row.items() if n != "run"}
        for key, row in cache.held.items()
    }


def referee(data: bytes) -> Held:
    calendars = TradingDays("XSHG", cache_folder())

    def trading_day(venue: str | None, time_ns: int) -> str:
        return naive_features.trading_day(calendars, venue, time_ns)

    return naive_features.count(data.splitlines(), trading_day)


def file_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "day.ndjson"
    path.write_bytes(data)
    return path


def steps_of(plan: Plan, state: object = None) -> AccountStep:
    return plan.account_step(0, plan.stage_factory(plan.source()), state)  # type: ignore[arg-type]


def messages_of(plan: Plan, step: AccountStep, start: int = 0, end: int = 10**9) -> list[HandOut]:
    messages: list[ShardMessage] = []
    for item in in_order(plan.source()):
        if start <= item.number < end:
            messages += step.take(deal(item.scan(), 1)[0])
    return [message.features for message in messages if message.features is not None]


def collected(*handed: HandOut) -> Held:
    cache = MemoryFeatures()
    live = LiveOutputs(features=cache)
    for one in handed:
        live._keep(one)
        cache.put(list(live.waiting.values()))
    return held(cache)


def test_a_story_and_a_rough_day_are_counted_as_the_referee_counts(tmp_path: Path) -> None:
    rough = inputs.roughen(inputs.market_lines(3_000, 3, 100), 5)
    for number, data in enumerate((lines(story()), b"\n".join(rough) + b"\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        plan = make_plan(folder / "data", [file_of(folder, data)], ("outputs.features=memory:",))
        writer = run_loop(plan, "run")
        cache = writer.outputs.live.features
        assert isinstance(cache, MemoryFeatures)
        assert held(cache) == referee(data) != {}
        writer.close()


@pytest.fixture
def told(tmp_path: Path) -> bytes:
    del tmp_path
    return lines(story())


def test_a_resumed_shard_hands_out_every_account_and_ends_the_same(
    tmp_path: Path, told: bytes
) -> None:
    plan = make_plan(tmp_path / "data", [file_of(tmp_path, told)], ON)
    step = steps_of(plan)
    messages_of(plan, step, 0, 2)
    known = step.stage.totals()["accounts"]
    resumed = steps_of(plan, step.snapshot())
    first, *rest = messages_of(plan, resumed, 2)
    assert len(first.names) >= known > 0
    assert collected(first, *rest) == referee(told)


def test_nothing_is_kept_where_nobody_asks(tmp_path: Path, told: bytes) -> None:
    off = make_plan(tmp_path / "data", [file_of(tmp_path, told)], ON[1:])
    step = steps_of(off)
    assert messages_of(off, step, 0, 2) == []
    assert step.stage.dump()["features"] is None


def test_switched_on_in_the_middle_the_count_begins_there_and_says_so(
    tmp_path: Path, told: bytes
) -> None:
    path = file_of(tmp_path, told)
    off, on = (make_plan(tmp_path / "data", [path], flags) for flags in (ON[1:], ON))
    step = steps_of(off)
    messages_of(off, step, 0, 2)
    handed = messages_of(on, steps_of(on, step.snapshot()), 2)
    assert {one.since for one in handed} == {step.stage.totals()["events"]}
    resumed = steps_of(on, step.snapshot())
    messages_of(on, resumed, 2, 3)
    switched_off = steps_of(off, resumed.snapshot())
    assert switched_off.stage.features is None


def test_an_account_is_handed_out_once_in_a_stretch_of_time_but_all_at_the_end(
    tmp_path: Path, told: bytes
) -> None:
    path = file_of(tmp_path, told)
    counts = []
    for every_ns in (0, 60 * 10**9, DAY_NS):
        flags = (*ON, f"features.every_ns={every_ns}")
        plan = make_plan(tmp_path / str(every_ns), [path], flags)
        handed = messages_of(plan, steps_of(plan))
        assert collected(*handed) == referee(told)
        counts.append(sum(len(one.names) for one in handed))
    assert counts[0] >= counts[1] > counts[2]


def test_no_message_grows_large(
    tmp_path: Path, told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f, "HANDED_MAX", 2)
    plan = make_plan(tmp_path / "data", [file_of(tmp_path, told)], (*ON, "features.every_ns=0"))
    handed = messages_of(plan, steps_of(plan))
    assert max(len(one.names) for one in handed[:-1]) == 2
    assert collected(*handed) == referee(told)


def test_without_rows_there_is_nothing_to_hand_out() -> None:
    features = f.Features(0, "default")
    assert features.hand_out(NEVER_NS, is_last=True) is None
    assert f.Features.load(0, "default", features.dump()).hand_out(0, is_last=True) is None
