"""The market stage: what all shards counted together, fixed once nothing of it can change.

Its first product are peer quantiles: how many orders, cancels, fills an account of a tier made in
a day, what share it cancelled, what share it won. They go into the control log when every shard is
past the day's end, so that what later rests on them rests on something written down.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct, convert, field, to_builtins
from numpy.typing import NDArray

from detectors.core.contract import FixedGroup
from detectors.core.findings import day_name
from detectors.core.peers import (
    BINS,
    PEER_FEATURES,
    PeerCounts,
    PeerKey,
    add_counts,
    bin_top,
    quantile,
)
from detectors.core.ranking import Review
from flows.control import ControlLog
from flows.steps import ShardMessage

KIND: Final = "peer_quantiles"
KIND_FIXED: Final = "budget"
KIND_REVIEW: Final = "review"
QUANTILES: Final = {"q10": 100, "q50": 500, "q90": 900, "q95": 950, "q99": 990}
_PERCENT: Final = "_percent"


class PeerGroup(Struct, frozen=True, kw_only=True):
    """Peer quantiles as the control log holds them.

    Attributes
    ----------
    trading_day
        As ISO date.
    day_end_ns
        When the day ended; from then on they count.
    tier
        Of ``ref.account``; empty for accounts with nothing on file.
    is_simulated
        Of accounts that traded simulated money on the day.
    features
        By name: accounts counted, and the value that so many do not exceed (``QUANTILES``), which
        is exact below 16 and for shares, else the top of a bin of an eighth of an octave.
    bins
        By name: (bin, accounts) of the bins that are not empty.
    """

    trading_day: str
    day_end_ns: int
    tier: str
    is_simulated: bool
    features: dict[str, dict[str, int]]
    bins: dict[str, list[tuple[int, int]]]


class MarketState(Struct):
    """What the market stage remembers; part of the writer's snapshot."""

    # Per shard, the time up to which its ended days have been counted.
    closed_until_ns: dict[int, int] = field(default_factory=dict)
    pending: list[PeerCounts] = field(default_factory=list)


class MarketStep:
    """Adds up the shards' counts, and fixes them day by day.

    Parameters
    ----------
    state
        Where it stands; changed in place.
    shards
        How many shards of accounts there are.
    """

    def __init__(self, state: MarketState, shards: int) -> None:
        self.state = state
        self._shards = shards
        self._held: dict[PeerKey, NDArray[np.int64]] = {}
        for counts in state.pending:
            self._add(counts)

    def take(self, message: ShardMessage) -> list[PeerGroup]:
        """Take a shard's counts; return the groups that no shard can change any more, in order."""
        if message.is_aligned:  # of instruments: they count no accounts
            return []
        for counts in message.peers:
            self._add(counts)
        self.state.closed_until_ns[message.shard] = message.closed_until_ns
        if len(self.state.closed_until_ns) < self._shards or not self._held:
            return []
        reached_ns = min(self.state.closed_until_ns.values())
        ended = sorted(key for key in self._held if key.day_end_ns <= reached_ns)
        return [_group(key, self._held.pop(key)) for key in ended]

    def _add(self, counts: PeerCounts) -> None:
        empty = np.zeros((len(PEER_FEATURES), BINS), np.int64)
        add_counts(self._held.setdefault(counts.key, empty), counts)

    def snapshot(self) -> MarketState:
        """Return the state with what is held."""
        pending = [PeerCounts(*key, _bins(held)) for key, held in sorted(self._held.items())]
        return MarketState(dict(self.state.closed_until_ns), pending)


def _bins(held: NDArray[np.int64]) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(tuple((int(at), int(one[at])) for at in np.flatnonzero(one)) for one in held)


def _group(key: PeerKey, held: NDArray[np.int64]) -> PeerGroup:
    named = dict(zip(PEER_FEATURES, held, strict=True))
    return PeerGroup(
        trading_day=day_name(key.day),
        day_end_ns=key.day_end_ns,
        tier=key.tier,
        is_simulated=key.is_simulated,
        features={name: _quantiles(name, bins) for name, bins in named.items() if bins.any()},
        bins={
            name: list(pairs)
            for name, pairs in zip(PEER_FEATURES, _bins(held), strict=True)
            if pairs
        },
    )


def _quantiles(name: str, bins: NDArray[np.int64]) -> dict[str, int]:
    top = int if name.endswith(_PERCENT) else bin_top
    found = {label: top(quantile(bins, share)) for label, share in QUANTILES.items()}
    return {"accounts": int(bins.sum())} | found


def write_down(control: ControlLog, group: PeerGroup) -> None:
    """Append a group to the control log; the same group again changes nothing."""
    kind = "simulated" if group.is_simulated else "real"
    key = f"{KIND}/{group.trading_day}/{group.day_end_ns}/{kind}/{group.tier}"
    control.append("peer_quantiles", group.day_end_ns, _body(group), key)


def _body(group: PeerGroup) -> dict[str, Any]:
    return {
        "trading_day": group.trading_day,
        "day_end_ns": group.day_end_ns,
        "tier": group.tier,
        "is_simulated": group.is_simulated,
        "features": group.features,
        "bins": {name: [list(pair) for pair in pairs] for name, pairs in group.bins.items()},
    }


def read_groups(control: ControlLog) -> list[PeerGroup]:
    """Return every group of the control log, in the order in which they were fixed."""
    return [_from_body(record.body) for record in control.read() if record.kind == KIND]


def _from_body(body: Mapping[str, Any]) -> PeerGroup:
    bins = {name: [(at, n) for at, n in pairs] for name, pairs in body["bins"].items()}
    return PeerGroup(**{**body, "bins": bins})


def write_fixed(control: ControlLog, one: FixedGroup) -> None:
    """Append what a test fixed at a close to the control log; the same again changes nothing."""
    kind = "simulated" if one.is_simulated else "real"
    key = f"{KIND_FIXED}/{one.rule}/{one.time_ns}/{kind}/{one.tier}"
    control.append("budget", one.time_ns, to_builtins(one), key)


def read_fixed(control: ControlLog) -> list[FixedGroup]:
    """Return what tests fixed at closes, in the order in which it was written down."""
    return [convert(r.body, FixedGroup) for r in control.read() if r.kind == KIND_FIXED]


def write_review(control: ControlLog, review: Review) -> None:
    """Append a daily review to the control log; the same again changes nothing."""
    kind = "simulated" if review.is_simulated else "real"
    key = f"{KIND_REVIEW}/{review.time_ns}/{kind}/{review.tier}"
    control.append("review", review.time_ns, to_builtins(review), key)


def read_reviews(control: ControlLog) -> list[Review]:
    """Return every daily review, in the order in which they were written down."""
    return [convert(r.body, Review) for r in control.read() if r.kind == KIND_REVIEW]
