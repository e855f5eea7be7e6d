"""Words and evidence that several detectors' explanations share."""

from typing import Any, Final

import numpy as np

from detectors.core.contract import (
    CONFIRMED,
    HEDGE,
    MARKET_MAKER,
    PROVISIONAL,
    RECEDED,
    REGISTRATIONS,
    WITHDRAWN,
    RuleSpec,
)

_NAMES: Final = {MARKET_MAKER: "market making", HEDGE: "hedging"}
_STANDING: Final = {
    PROVISIONAL: " Provisional until its trading day is over.",
    CONFIRMED: " Confirmed at the end of its trading day.",
    WITHDRAWN: " Withdrawn at the end of its trading day: by then the rule was no longer broken.",
    RECEDED: " By now the rule is no longer broken.",
}


def exemptions(finding: np.void, rule: RuleSpec) -> dict[str, Any]:
    """Return for each exemption whether the rule honours it, it was on file, and was claimed."""
    return {
        name: {
            "honoured_by_rule": name in rule.exempt,
            "registered": bool(int(finding["registered"]) & bit),
            "claimed": bool(int(finding["claimed"]) & bit),
        }
        for name, bit in REGISTRATIONS.items()
    }


def shared_evidence(finding: np.void, rule: RuleSpec) -> dict[str, Any]:
    """Return the exemptions considered, and the cancels that nobody gave a reason for."""
    return {
        "exemptions": exemptions(finding, rule),
        "cancels_of_unknown_reason_today": int(finding["unknown_reasons"]),
    }


def standing(finding: np.void, rule: RuleSpec) -> str:
    """Say how the finding stands, which registration is missing, and whether it was claimed."""
    text = _STANDING.get(int(finding["phase"]), "")
    if not rule.exempt:
        return text
    on_file = " or ".join(_NAMES[REGISTRATIONS[name]] for name in rule.exempt)
    text += f" No registration for {on_file} is on file for it on this day"
    claimed = [
        _NAMES[REGISTRATIONS[name]]
        for name in rule.exempt
        if int(finding["claimed"]) & REGISTRATIONS[name]
    ]
    if claimed:
        return f"{text}; the sender claims {' and '.join(claimed)}, unverified."
    return f"{text}."


def seconds(ns: int) -> str:
    """Spell a duration in ns as seconds without needless zeros.

    Examples
    --------
    >>> seconds(1_500_000_000), seconds(10_000_000_000)
    ('1.5 s', '10 s')
    """
    return f"{ns / 1e9:.9f}".rstrip("0").rstrip(".") + " s"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Spell a count with its noun.

    Examples
    --------
    >>> count_of(1, "cancel"), count_of(1200, "cancel"), count_of(2, "it", "them")
    ('1 cancel', '1,200 cancels', '2 them')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def at_most(quantity: str, limit: int, observed: int, *, within: str) -> dict[str, Any]:
    """Build the counterfactual of a count: how many would not have fired."""
    return {
        "quantity": quantity,
        "at_most": limit,
        "observed": observed,
        "text": f"would not have fired with {limit:,} or fewer {quantity} {within}",
    }
