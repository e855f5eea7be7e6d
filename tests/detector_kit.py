"""What tests of the account stage share, beside the kit that ships with the product."""

from detectors.core.contract import ALIGNED, RuleSpec
from detectors.core.registry import detector_names, detector_type
from detectors.core.stage import StageOutput
from lab.conformance.kit import (
    DAY_NS,
    END_NS,
    KEY,
    START_NS,
    Event,
    Tape,
    at,
    calendars_of_venues,
    columns_of,
    detectors_of,
    feed,
    no_carry,
    reborn,
    rule_of,
    run,
    stage_of,
)
from schemas.events import SECOND_NS

__all__ = [
    "DAY_NS",
    "END_NS",
    "KEY",
    "SECOND_NS",
    "START_NS",
    "Event",
    "Tape",
    "all_rules",
    "at",
    "calendars_of_venues",
    "columns_of",
    "detectors_of",
    "feed",
    "no_carry",
    "phases",
    "reborn",
    "rule_of",
    "run",
    "stage_of",
]


def all_rules() -> list[RuleSpec]:
    """Return one rule for each set of examples of each detector on accounts."""
    return [
        rule_of(name, dict(parameters), id=f"test.{name}.{example}")
        for name in detector_names()
        if detector_type(name).subject not in ALIGNED
        for example, parameters in detector_type(name).examples().items()
    ]


def phases(output: StageOutput, rule_id: str = "") -> list[str]:
    return [f.phase for f in output.findings if rule_id in ("", f.rule.id)]
