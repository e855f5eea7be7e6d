"""Every detector found keeps the contract, with each of its own examples; and checks can fail."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from detector_kit import START_NS, Tape, columns_of, feed, rule_of, run, stage_of

import detectors
from detectors.cancel_count import CancelCount
from detectors.core.contract import HEADROOM, PHASES, RECENT, Explanation, Nearness
from detectors.core.registry import detector_type, own_names, params_types
from lab.conformance import checks
from lab.conformance.days import busy_days
from lab.conformance.trial import try_detectors
from schemas.alerts import POSITIONS_MAX
from schemas.columns import EventColumns

FILES = sorted(p.stem for p in Path(detectors.__file__).parent.glob("*.py") if p.stem != "__init__")
CASES = [(name, example) for name in FILES for example in detector_type(name).examples()]


def test_detectors_found_are_the_files_present() -> None:
    assert own_names() == FILES == sorted(params_types())
    assert {name for name, _ in CASES} == set(FILES)


@pytest.mark.parametrize("check", checks.CHECKS, ids=[check.__name__ for check in checks.CHECKS])
@pytest.mark.parametrize(("name", "example"), CASES)
def test_every_example_keeps_every_check(name: str, example: str, check: Any) -> None:
    check(name, detector_type(name).examples()[example])


class Keeps(CancelCount):
    """A detector that keeps the contract, for others to break."""

    name: ClassVar[str] = "broken"


class Tells(Keeps):
    """Tells another story each time."""

    told: ClassVar[list[int]] = []

    def explain(self, finding: np.void) -> Explanation:
        self.told.append(1)
        words = super().explain(finding)
        return words._replace(evidence=words.evidence | {"told": len(self.told)})


class Writes(Keeps):
    """Writes into the steps."""

    def update(self, steps: Any, state: Any, out: Any) -> None:
        super().update(steps, state, out)
        steps["age_ns"] += 1


class Batches(Keeps):
    """Looks at the first row of a batch only."""

    def update(self, steps: Any, state: Any, out: Any) -> None:
        super().update(steps[: 1 + len(steps) // 2], state, out)


class Mumbles(Keeps):
    """Explains without a sentence."""

    def explain(self, finding: np.void) -> Explanation:
        return super().explain(finding)._replace(why="hm")


class Floats(Keeps):
    """Puts into evidence what the ledger cannot hold."""

    def explain(self, finding: np.void) -> Explanation:
        words = super().explain(finding)
        return words._replace(evidence=words.evidence | {"share": float("nan")})


class Exceeds(Keeps):
    """Is nearer to its figure than there is."""

    def nearness(self, finding: np.void) -> Nearness:
        return super().nearness(finding)._replace(value=1e9)


class Sleeps(Keeps):
    """Finds nothing."""

    def update(self, steps: Any, state: Any, out: Any) -> None:
        del steps, state, out


class Swells(Keeps):
    """Needs more bytes a subject than there are."""

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        return np.dtype([*super().state_dtype.descr, ("more", "<i8", (8,))])


class Renames(Keeps):
    """Is not called what it was found as."""

    name: ClassVar[str] = "another"


class Bare(Keeps):
    """Has no examples."""

    @classmethod
    def examples(cls) -> Any:
        return {}


MUTANTS = {
    Tells: "finds_the_same_again",
    Writes: "leaves_steps_alone",
    Batches: "cutting_changes_nothing",
    Mumbles: "explains_every_phase",
    Floats: "evidence_is_fit_for_the_ledger",
    Exceeds: "headroom_is_below_the_figure",
    Sleeps: "finds_the_same_again",
    Swells: "says_what_it_is",
    Renames: "says_what_it_is",
}


def bring(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
    """Have a detector of another package found as ``broken``."""
    for module in ("lab.conformance.checks", "detectors.core.registry"):
        monkeypatch.setattr(f"{module}.detector_type", lambda _: kind)


def test_what_keeps_the_contract_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, Keeps)
    trials = try_detectors(["broken"], lambda _: None)
    assert len(trials) == len(checks.CHECKS)
    assert [trial.fault for trial in trials] == [""] * len(trials)


@pytest.mark.parametrize("kind", MUTANTS, ids=[kind.__name__ for kind in MUTANTS])
def test_what_breaks_the_contract_is_named(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch, kind)
    check = getattr(checks, MUTANTS[kind])
    with pytest.raises(Exception, match=r"\w"):
        check("broken", kind.examples()["default"])


def test_one_fault_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, Sleeps)
    trials = try_detectors(["broken"], lambda _: None)
    assert len(trials) == len(checks.CHECKS)
    assert [trial.check for trial in trials if trial.fault] == [
        "finds something on the busy days, and the same again"
    ]


def test_one_without_examples_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, Bare)
    (trial,) = try_detectors(["broken"], lambda _: None)
    assert trial.fault == "It has no examples to be tried with."


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
    rules = [rule_of("cancel_count", {"cancels_min": 5})]
    output = run(busy_days(), rules, **checks.CONFIG)
    assert output.headroom
    assert [f.ordinal for f in output.findings if f.subject == "A I@TEST"][:2] == [0, 1]
    assert HEADROOM not in (PHASES.index(f.phase) for f in output.findings)
    assert RECENT <= POSITIONS_MAX


def test_rows_of_nobody_have_no_effect() -> None:
    columns = columns_of(busy_days())
    columns.rows["account_1"] = columns.rows["account_2"] = 0
    rules = [rule_of("order_rate", dict(detector_type("order_rate").examples()["second"]))]
    stage = stage_of(rules, **checks.CONFIG)
    assert feed(stage, EventColumns(columns.rows, columns.raw)).findings == []
    assert stage.totals()["without_account"] == len(busy_days())
    assert stage.totals()["accounts"] == 0
    assert START_NS > 0
