"""Dormant reactivation in plain Python, from the words of ``detectors.dormant_reactivation``."""

from collections.abc import Sequence
from dataclasses import dataclass

from naive_detectors import Found, Step, seen_by

from detectors.core import contract as c


@dataclass
class Return:
    """One return of an account."""

    at_ns: int
    rest_ns: int
    orders: int = 0
    fills: int = 0
    told: bool = False


def dormant_reactivation(
    steps: Sequence[Step | None], dormant_ns: int, window_ns: int, orders_min: int, fills_min: int
) -> list[Found]:
    found: list[Found] = []
    seen: dict[str, list[int]] = {}
    returns: dict[str, Return] = {}
    for row, step, account in seen_by(steps, c.ACTION | c.FILL, "account"):
        times = seen.setdefault(account, [])
        if times and step.time_ns - max(times) >= dormant_ns:
            returns[account] = Return(step.time_ns, step.time_ns - max(times))
        times.append(step.time_ns)
        one = returns.get(account)
        if one is None or one.told or not one.at_ns <= step.time_ns < one.at_ns + window_ns:
            continue
        one.orders += bool(step.what & c.NEW)
        one.fills += bool(step.what & c.FILL)
        if one.orders >= orders_min or one.fills >= fills_min:
            one.told = True
            found.append((row, "opening", account, (one.orders, one.fills, one.rest_ns)))
    return found
