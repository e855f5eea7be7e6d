"""What can be wrong with a rule pack, found without running it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from detectors.core.contract import ALIGNED, REGISTRATIONS
from detectors.core.packs import Figure, Pack, PackRule, load_pack, load_rules
from detectors.core.reference import parameter_words
from detectors.core.registry import build_detector, detector_names, detector_type

MIC_SIZE: Final = 4
_BOUNDS: Final = re.compile(r"in \[([0-9.]+), ([0-9.]+)\]")


def lint_packs(packs: Sequence[str], overrides: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return every mistake found, each as one sentence."""
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in packs:
        try:
            pack = load_pack(name)
        except FileNotFoundError:
            problems.append(f"pack {name}: there is no pack of this name.")
        except msgspec.ValidationError as error:
            problems.append(f"pack {name}: {error}.")
        else:
            problems += _lint_pack(pack, seen)
    return problems or list(_lint_parameters(packs, overrides))


def _lint_pack(pack: Pack, seen: dict[str, str]) -> Iterator[str]:
    for rule in pack.rule:
        place = f"pack {pack.id}, rule {rule.id}"
        if rule.id in seen:
            yield f"{place}: pack {seen[rule.id]} has a rule of this id too; give it another."
        seen[rule.id] = pack.id
        for problem in _lint_rule(rule):
            yield f"{place}: {problem}"
        is_known = rule.detector in detector_names()
        if is_known and detector_type(rule.detector).is_large and not pack.on_request:
            yield f"{place}: {rule.detector} remembers much; set on_request = true in the pack."


def _lint_rule(rule: PackRule) -> Iterator[str]:
    if rule.detector not in detector_names():
        yield f"there is no detector {rule.detector}; there is {', '.join(detector_names())}."
    elif rule.may_notify and detector_type(rule.detector).subject in ALIGNED:
        yield "may_notify is for rules on one account; take it out."
    if not rule.figures:
        yield "it has no figure, so nobody can say whose rule it is."
    for name in set(rule.exempt) - set(REGISTRATIONS):
        yield f"exempt names {name}, which is no registration; use {', '.join(REGISTRATIONS)}."
    for venue in rule.venues:
        if len(venue) != MIC_SIZE or not venue.isalnum():
            yield f"venue {venue!r} is no market identifier of four letters and digits."
    for name, figure in rule.figures.items():
        for problem in _lint_figure(figure):
            yield f"figure {name}: {problem}"


def _lint_figure(figure: Figure) -> Iterator[str]:
    if not figure.source.strip():
        yield "its source is empty; say which text it was read in."
    if not figure.article.strip():
        yield "its article is empty; quote what a compliance officer would."
    try:
        date.fromisoformat(figure.effective)
    except ValueError:
        yield f"effective {figure.effective!r} is no date like 2026-03-04."


def _lint_parameters(
    packs: Sequence[str], overrides: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Build every rule once: unknown parameters and values out of range speak then."""
    try:
        rules = load_rules(packs, overrides)
    except ValueError as error:
        yield f"{error}."
        return
    for bit, rule in enumerate(rules):
        try:
            detector = build_detector(rule, bit)
        except ValueError as error:
            yield f"{error}."
        else:
            for problem in _lint_values(detector.params):
                yield f"rule {rule.id}: {problem}"


def _lint_values(params: msgspec.Struct) -> Iterator[str]:
    """Hold every number against what the parameter's own words say of it."""
    words = parameter_words(type(params))
    for name, value in msgspec.structs.asdict(params).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        bounds = _BOUNDS.search(words.get(name, ""))
        low, high = map(float, bounds.groups()) if bounds else (0.0, float("inf"))
        if not low <= value <= high:
            most = f"from {low:g} to {high:g}" if bounds else "0 or more"
            yield f"{name} is {value}; it must be {most}."
