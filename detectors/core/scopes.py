"""Where rules apply: the bits of the rules that look at an instrument of a venue."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from detectors.core.contract import Detector


def rules_for(detectors: Iterable[Detector], instrument: str | None, venue: str | None) -> int:
    """Return the bits of the rules that apply; None, None: to rows without an instrument."""
    bits = 0
    for detector in detectors:
        rule = detector.rule
        if rule.venues and venue not in rule.venues:
            continue
        if rule.instruments and not _matches(instrument, rule.instruments):
            continue
        if _matches(instrument, rule.instruments_except):
            continue
        bits |= int(detector.selection.rule_bit)
    return bits


def _matches(instrument: str | None, patterns: Sequence[str]) -> bool:
    return instrument is not None and any(fnmatchcase(instrument, p) for p in patterns)
