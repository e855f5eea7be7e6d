"""Every detector found by file keeps the contract, with every set of its own examples."""

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_kit import (
    END_NS,
    SECOND_NS,
    START_NS,
    Event,
    Tape,
    columns_of,
    detectors_of,
    feed,
    no_carry,
    reborn,
    rule_of,
    run,
    stage_of,
)

import detectors
from detectors.core.contract import FINDING, HEADROOM, PHASES, RECENT, RuleSpec
from detectors.core.memory import FindingBuffer
from detectors.core.registry import build_detector, detector_names, detector_type, params_types
from ledger.entry import canonical
from schemas.alerts import POSITIONS_MAX
from schemas.columns import EventColumns

FILES = sorted(p.stem for p in Path(detectors.__file__).parent.glob("*.py") if p.stem != "__init__")
CASES = [(name, example) for name in FILES for example in detector_type(name).examples()]
CONFIG = {"lateness_ns": 2 * SECOND_NS}


def rules_of(name: str, example: str) -> list[RuleSpec]:
    return [rule_of(name, dict(detector_type(name).examples()[example]))]


def busy_day() -> list[Event]:
    """Return two days of two accounts on which every example of every detector finds something."""
    tape = Tape()
    for account, day in product("AB", range(2)):
        base = 1_000.0 + 86_400 * day
        for i in range(40):
            now, name = base + i * (0.1 if i < 12 else 2.5), f"{account}{day}-{i}"
            own = {"account_id": account}
            tape.new(now, name, quantity=20 + i, **own)
            if i % 5 == 4:
                side = {"side": "sell"} if i % 2 else {}
                tape.fill(now + 0.01, name, quantity=5, price=10 + i % 2, **own, **side)
            if i % 4:
                tape.cancel(now + 0.05, name, **own)
            else:
                tape.replace(now + 0.05, name, quantity=30 + i, **own)
        for i in range(12):
            extra = {"realized_pnl": 1 if i % 6 else -3, "account_id": account}
            now = base + 200 + i
            both = {"instrument": "J", "fill_id": f"{account}{day}t{i}"}  # with itself
            tape.fill(now, f"{account}{day}w{i}", price=10, account_id=account, **both)
            sold = {"side": "sell", "price": 11 if i % 6 else 9, **both}
            tape.fill(now + 0.2, f"{account}{day}s{i}", **sold, **extra)
    tape.events.sort(key=lambda e: e["event_time_ns"])
    return tape.events


EVENTS = busy_day()


def test_detectors_found_are_the_files_present() -> None:
    assert detector_names() == FILES == sorted(params_types())
    assert {name for name, _ in CASES} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_detector_says_what_it_is(name: str) -> None:
    kind = detector_type(name)
    module = __import__(f"detectors.{name}", fromlist=["x"])
    assert kind.name == name
    assert (module.__doc__ or "").splitlines()[0].endswith(".")
    assert kind.version >= 1
    for parameters in kind.examples().values():
        one = build_detector(rule_of(name, dict(parameters)), 0)
        # A party has traded with itself, which few accounts ever do; scores are eight words.
        is_large = one.is_aligned or "scores" in (one.state_dtype.names or ())
        assert one.state_dtype.itemsize <= (160 if is_large else 80), "bytes a subject"
        assert one.state_dtype.itemsize % 4 == 0


@pytest.mark.parametrize("name", FILES)
def test_a_parameter_it_does_not_have_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="no parameter 'colour'"):
        build_detector(rule_of(name, {"colour": 1}), 0)


@pytest.mark.parametrize(("name", "example"), CASES)
class TestEveryExample:
    def test_finds_something_and_the_same_again(self, name: str, example: str) -> None:
        first, second = (run(EVENTS, rules_of(name, example), **CONFIG) for _ in range(2))
        assert first.findings
        assert (first.findings, first.headroom) == (second.findings, second.headroom)

    def test_leaves_its_steps_as_they_were(self, name: str, example: str) -> None:
        stage = stage_of(rules_of(name, example), **CONFIG)
        stage.take(columns_of(EVENTS), no_carry())
        stage.close(END_NS)
        own = stage.instruments if stage.detectors[0].is_aligned else stage
        steps = own._scratch.steps[: len(EVENTS)]
        before = steps.tobytes()
        one, state = stage.detectors[0], stage.subjects[0]
        state.reserve(state.most, len(steps), uses_pool=one.uses_pool)
        one.update(steps, state, FindingBuffer.of(2 * len(steps)))
        assert steps.tobytes() == before

    @pytest.mark.parametrize("sizes", ["1", "7", "random"])
    def test_parts_and_resumes_find_what_the_whole_finds(
        self, name: str, example: str, sizes: str
    ) -> None:
        rules, columns = rules_of(name, example), columns_of(EVENTS)
        whole = feed(stage_of(rules, **CONFIG), columns)
        parts = feed(stage_of(rules, **CONFIG), columns, sizes_of(sizes))
        resumed = feed(stage_of(rules, **CONFIG), columns, sizes_of(sizes), reborn(rules, **CONFIG))
        assert whole.findings == parts.findings == resumed.findings
        assert whole.headroom == parts.headroom == resumed.headroom

    def test_late_and_repeated_events_have_no_effect(self, name: str, example: str) -> None:
        rules = rules_of(name, example)
        noisy: list[Event] = []
        for i, event in enumerate(EVENTS):
            noisy.append(event)
            if i % 3 == 0:
                noisy.append(event)
            if i > 20 and i % 5 == 0:  # a cancel of ten seconds ago, new to us
                early = min(EVENTS[i - 1]["event_time_ns"], event["event_time_ns"])
                late = early - 10 * SECOND_NS
                noisy.append(EVENTS[i - 20] | {"event_id": f"late{i}", "event_time_ns": late})
        clean, got = run(EVENTS, rules, **CONFIG), run(noisy, rules, **CONFIG)
        assert [told(f) for f in got.findings] == [told(f) for f in clean.findings]

    def test_memory_grows_with_subjects_only(self, name: str, example: str) -> None:
        rules = rules_of(name, example)
        once, often = (stage_of(rules, **CONFIG) for _ in range(2))
        feed(once, columns_of(again_and_again(2)), [50] * 1_000)
        feed(often, columns_of(again_and_again(20)), [50] * 1_000)
        one, many = once.subjects[0], often.subjects[0]
        assert len(one) == len(many) <= 4
        assert len(one.heads) == len(many.heads)
        assert many.nodes_held == 0, "nodes were not given back"
        assert len(one.nodes) == len(many.nodes)

    def test_evidence_is_fit_for_the_ledger_and_finite(self, name: str, example: str) -> None:
        for finding in run(EVENTS, rules_of(name, example), **CONFIG).findings:
            assert canonical(finding.evidence)
            assert canonical(finding.counterfactual)
            assert finding.counterfactual["text"].startswith("would not have ")
            assert finding.onset_ns <= finding.event_time_ns
            assert 1 <= len(finding.positions) <= POSITIONS_MAX
            assert finding.positions[-1].lane == "t"

    def test_headroom_is_finite_and_below_the_figure(self, name: str, example: str) -> None:
        for near in run(EVENTS, rules_of(name, example), **CONFIG).headroom:
            assert math.isfinite(near.value)
            assert 0 < near.value <= near.figure

    @pytest.mark.parametrize("phase", range(1, len(PHASES)))
    def test_every_phase_is_explained(self, name: str, example: str, phase: int) -> None:
        one = detectors_of(rules_of(name, example))[0]
        for filling in (1, 12):
            record = np.zeros(1, FINDING)[0]
            record["phase"] = phase
            record["numbers"] = filling
            words = one.explain(record)
            assert words.why.endswith(".")
            assert canonical(words.evidence)
            assert words.counterfactual["at_most"] is not None
            assert math.isfinite(one.nearness(record).value)
            assert one.nearness(record).figure > 0


def sizes_of(kind: str) -> Iterator[int]:
    rng = np.random.default_rng(5)
    while True:
        yield int(rng.integers(1, 40)) if kind == "random" else int(kind)


def told(finding: Any) -> tuple[Any, ...]:
    """Return a finding without its positions: lines have moved."""
    return finding.phase, finding.subject, finding.trigger, finding.evidence, finding.why


def again_and_again(count: int) -> list[Event]:
    """Return the busy days ``count`` times over, two days later each time."""
    return [moved(event, k) for k in range(count) for event in EVENTS]


def moved(event: Event, k: int) -> Event:
    later = {
        "event_time_ns": event["event_time_ns"] + k * 2 * 86_400 * SECOND_NS,
        "event_id": f"{k}-{event['event_id']}",
    }
    return event | later | ({"order_id": f"{k}-{event['order_id']}"} if "order_id" in event else {})


def test_a_full_buffer_of_verdicts_is_emptied_and_filled_again() -> None:
    rules = [rule_of("order_to_trade", {"measure": "number", "ratio_max": 1.0})]
    tape = Tape()
    for account in range(300):
        for i in range(3):
            tape.new(account + i / 10, f"{account}-{i}", account_id=f"A{account}")
    stage = stage_of(rules)
    output = feed(stage, columns_of(tape.events), [30] * 100)
    assert len(stage._scratch.buffer.records) == 60
    assert sum(f.phase == "confirmed" for f in output.findings) == 300


def test_headroom_takes_no_ordinal() -> None:
    output = run(EVENTS, rules_of("cancel_count", "default"), **CONFIG)
    assert output.headroom
    assert [f.ordinal for f in output.findings if f.subject == "A I@TEST"][:2] == [0, 1]
    assert HEADROOM not in (PHASES.index(f.phase) for f in output.findings)
    assert RECENT <= POSITIONS_MAX


def test_rows_of_nobody_have_no_effect() -> None:
    columns = columns_of(EVENTS)
    columns.rows["account_1"] = columns.rows["account_2"] = 0
    rules = rules_of("order_rate", "second")
    stage = stage_of(rules, **CONFIG)
    assert feed(stage, EventColumns(columns.rows, columns.raw)).findings == []
    assert stage.totals()["without_account"] == len(EVENTS)
    assert stage.totals()["accounts"] == 0
    assert START_NS > 0
