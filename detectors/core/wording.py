"""Words that several detectors' explanations share."""

from typing import Any, Final

import numpy as np

from detectors.core.contract import HEDGE, MARKET_MAKER, REGISTRATIONS, RuleSpec

_NAMES: Final = {MARKET_MAKER: "market making", HEDGE: "hedging"}


def exemptions(finding: np.void, rule: RuleSpec) -> dict[str, Any]:
    """List the exemptions the rule knows, and for each whether it was on file or only claimed."""
    return {
        name: {
            "honoured_by_rule": name in rule.exempt,
            "registered": bool(int(finding["registered"]) & bit),
            "claimed": bool(int(finding["claimed"]) & bit),
        }
        for name, bit in REGISTRATIONS.items()
    }


def missing_registration(finding: np.void, rule: RuleSpec) -> str:
    """Say which registration would have exempted the account, and whether it was claimed."""
    if not rule.exempt:
        return ""
    claimed = [
        _NAMES[bit]
        for name, bit in REGISTRATIONS.items()
        if name in rule.exempt and int(finding["claimed"]) & bit
    ]
    on_file = " or ".join(_NAMES[REGISTRATIONS[name]] for name in rule.exempt)
    text = f" No registration for {on_file} is on file for it on this day"
    if claimed:
        return f"{text}; the sender claims {' and '.join(claimed)}, unverified."
    return f"{text}."


def seconds(ns: int) -> str:
    """Spell a duration in ns as seconds without needless zeros."""
    return f"{ns / 1e9:.9f}".rstrip("0").rstrip(".") + " s"


def count_of(number: int, noun: str) -> str:
    """Spell a count with its noun.

    Examples
    --------
    >>> count_of(1, "cancel"), count_of(1200, "cancel")
    ('1 cancel', '1,200 cancels')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def at_most(quantity: str, limit: int, observed: int, *, within: str) -> dict[str, Any]:
    """Build the counterfactual of a count: how many would not have fired."""
    return {
        "quantity": quantity,
        "at_most": limit,
        "observed": observed,
        "text": f"would not have fired with {limit:,} or fewer {quantity} {within}",
    }
