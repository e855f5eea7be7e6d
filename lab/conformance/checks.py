"""The contract of detectors as checks, each of which says what is wrong in a sentence."""

import math
from collections.abc import Callable, Iterator, Mapping
from inspect import cleandoc
from sys import modules
from typing import Any, Final

import numpy as np

from detectors.core.contract import ALIGNED, FINDING, PHASES, RuleSpec
from detectors.core.memory import FindingBuffer
from detectors.core.registry import build_detector, detector_type
from detectors.core.stage import StageOutput
from lab.conformance.days import again_and_again, busy_days, with_noise
from lab.conformance.kit import (
    END_NS,
    columns_of,
    detectors_of,
    feed,
    no_carry,
    reborn,
    rule_of,
    run,
    stage_of,
)
from ledger.entry import canonical
from schemas.alerts import POSITIONS_MAX, Finding
from schemas.events import SECOND_NS

CONFIG: Final[dict[str, Any]] = {"lateness_ns": 2 * SECOND_NS}
STATE_BYTES_MAX: Final = 80
STATE_BYTES_MAX_RARE: Final = 160  # of parties, with eight scores, or loaded on request
STATE_BYTES_MAX_PEER: Final = 384  # a past beside the scores, of those with ten orders and more
_SUBJECTS: Final = 4  # of the busy days: two accounts, or their contracts
_PARTS: Final = ("1", "7", "random")
Parameters = Mapping[str, Any]


class ConformanceError(Exception):
    """A detector does not keep the contract; the sentence says what is wrong."""


def _require(holds: object, sentence: str) -> None:
    if not holds:
        raise ConformanceError(sentence)


def _rules(name: str, parameters: Parameters) -> list[RuleSpec]:
    return [rule_of(name, dict(parameters))]


def says_what_it_is(name: str, parameters: Parameters) -> None:
    """Check that it has words, a version, and a row of bounded size."""
    kind = detector_type(name)
    words = cleandoc(modules[kind.__module__].__doc__ or "").splitlines()
    _require(words, f"{kind.__module__} has no docstring; its first line is what people read.")
    _require(words[0].endswith("."), "The docstring's first line must be a sentence.")
    _require(kind.name == name, f"Its name is {kind.name}, but it was found as {name}.")
    _require(kind.version >= 1, "Its version must be 1 or more.")
    dtype = build_detector(rule_of(name, dict(parameters)), 0).state_dtype
    is_rare = kind.subject in ALIGNED or kind.is_large or "scores" in (dtype.names or ())
    most = STATE_BYTES_MAX_RARE if is_rare else STATE_BYTES_MAX
    most = STATE_BYTES_MAX_PEER if kind.subject == "peer" else most
    _require(dtype.itemsize <= most, f"A subject takes {dtype.itemsize} bytes; {most} at most.")
    _require(dtype.itemsize % 4 == 0, "A subject's row must be of whole words of four bytes.")


def refuses_unknown_parameters(name: str, parameters: Parameters) -> None:
    """Check that a parameter which it does not have is refused by name."""
    try:
        build_detector(rule_of(name, {**parameters, "colour": 1}), 0)
    except ValueError as error:
        _require("no parameter 'colour'" in str(error), f"It refuses a parameter with: {error}.")
    else:
        raise ConformanceError("It takes a parameter 'colour', which it does not have.")


def finds_the_same_again(name: str, parameters: Parameters) -> None:
    """Check that it finds something on the busy days, and the same again."""
    rules = _rules(name, parameters)
    first, second = (run(busy_days(), rules, **CONFIG) for _ in range(2))
    _require(first.findings, "It finds nothing on the busy days (see lab/conformance/days.py).")
    same = (first.findings, first.headroom) == (second.findings, second.headroom)
    _require(same, "The same events gave other findings the second time.")


def leaves_steps_alone(name: str, parameters: Parameters) -> None:
    """Check that it changes its own state and nothing else."""
    events = busy_days()
    stage = stage_of(_rules(name, parameters), **CONFIG)
    stage.take(columns_of(events), no_carry())
    stage.close(END_NS)
    steps = _steps_of(stage)[: len(events)]
    before = steps.tobytes()
    one, state = stage.detectors[0], stage.subjects[0]
    state.reserve(state.most, len(steps), uses_pool=one.uses_pool)
    one.update(steps, state, FindingBuffer.of(2 * len(steps)))
    _require(steps.tobytes() == before, "It wrote into the steps, which other rules read.")


def _steps_of(stage: Any) -> Any:
    """Return the room that the steps of the first detector stand in."""
    detector = stage.detectors[0]
    if detector.subject == "peer":
        return stage.peers.units
    own = stage.instruments if detector.is_aligned else stage
    return own._scratch.steps  # noqa: SLF001 - nobody else asks


def cutting_changes_nothing(name: str, parameters: Parameters) -> None:
    """Check that batches, and resuming after each of them, find what the whole finds."""
    rules, columns = _rules(name, parameters), columns_of(busy_days())
    whole = _told(feed(stage_of(rules, **CONFIG), columns))
    for kind in _PARTS:
        parts = feed(stage_of(rules, **CONFIG), columns, _sizes(kind))
        _require(_told(parts) == whole, f"Batches of {kind} rows gave other findings.")
        again = reborn(rules, **CONFIG)
        resumed = feed(stage_of(rules, **CONFIG), columns, _sizes(kind), again)
        _require(_told(resumed) == whole, f"Resuming after {kind} rows gave other findings.")


def _told(output: StageOutput) -> tuple[Any, Any]:
    return output.findings, output.headroom


def _sizes(kind: str) -> Iterator[int]:
    rng = np.random.default_rng(5)
    while True:
        yield int(rng.integers(1, 40)) if kind == "random" else int(kind)


def noise_changes_nothing(name: str, parameters: Parameters) -> None:
    """Check that late and repeated events have no effect."""
    rules = _rules(name, parameters)
    clean, noisy = run(busy_days(), rules, **CONFIG), run(with_noise(), rules, **CONFIG)
    same = [_content(f) for f in noisy.findings] == [_content(f) for f in clean.findings]
    _require(same, "Late or repeated events changed its findings.")


def _content(finding: Finding) -> tuple[Any, ...]:
    """Return a finding without its positions: lines have moved."""
    return finding.phase, finding.subject, finding.trigger, finding.evidence, finding.why


def memory_is_bounded(name: str, parameters: Parameters) -> None:
    """Check that memory grows with subjects only, never with time."""
    once, often = (stage_of(_rules(name, parameters), **CONFIG) for _ in range(2))
    feed(once, columns_of(again_and_again(2)), [50] * 1_000)
    feed(often, columns_of(again_and_again(20)), [50] * 1_000)
    one, many = once.subjects[0], often.subjects[0]
    few = len(one) == len(many) <= _SUBJECTS
    _require(few, f"It remembers {len(many)} subjects, and {len(one)} after a tenth of the time.")
    _require(many.nodes_held == 0, f"{many.nodes_held} nodes of its pool were never given back.")
    _require(len(one.nodes) == len(many.nodes), "Its pool grew with time.")


def evidence_is_fit_for_the_ledger(name: str, parameters: Parameters) -> None:
    """Check that evidence is canonical, and that positions and times make sense."""
    for finding in run(busy_days(), _rules(name, parameters), **CONFIG).findings:
        canonical(finding.evidence)
        canonical(finding.counterfactual)
        text = str(finding.counterfactual.get("text", ""))
        _require(text.startswith("would not have "), f"Its counterfactual says {text!r}.")
        _require(finding.onset_ns <= finding.event_time_ns, "A finding begins after it was made.")
        count = len(finding.positions)
        _require(1 <= count <= POSITIONS_MAX, f"A finding names {count} rows.")


def headroom_is_below_the_figure(name: str, parameters: Parameters) -> None:
    """Check that headroom is finite, above 0 and not above the figure."""
    for near in run(busy_days(), _rules(name, parameters), **CONFIG).headroom:
        fits = math.isfinite(near.value) and 0 < near.value <= near.figure
        _require(fits, f"Headroom of {near.value} below a figure of {near.figure}.")


def explains_every_phase(name: str, parameters: Parameters) -> None:
    """Check that every phase is explained, whatever the numbers."""
    one = detectors_of(_rules(name, parameters))[0]
    for phase, filling in ((p, n) for p in range(1, len(PHASES)) for n in (1, 12)):
        record = np.zeros(1, FINDING)[0]
        record["phase"] = phase
        record["numbers"] = filling
        words = one.explain(record)
        _require(words.why.endswith("."), f"Phase {PHASES[phase]} is explained by no sentence.")
        canonical(words.evidence)
        _require("at_most" in words.counterfactual, "Its counterfactual has no 'at_most'.")
        near = one.nearness(record)
        _require(math.isfinite(near.value) and near.figure > 0, f"Nearness {near} says nothing.")


CHECKS: Final[tuple[Callable[[str, Parameters], None], ...]] = (
    says_what_it_is,
    refuses_unknown_parameters,
    finds_the_same_again,
    leaves_steps_alone,
    cutting_changes_nothing,
    noise_changes_nothing,
    memory_is_bounded,
    evidence_is_fit_for_the_ledger,
    headroom_is_below_the_figure,
    explains_every_phase,
)


def examples_of(name: str) -> list[tuple[str, Parameters]]:
    """Return a detector's own examples: name and parameters.

    Raises
    ------
    ConformanceError
        If it has none.
    """
    examples = list(detector_type(name).examples().items())
    _require(examples, "It has no examples to be tried with.")
    return examples
