"""What an account did in a day, counted into histograms of its peer group.

Peers are accounts of one tier (as ``ref.account`` says), those that trade simulated money apart.
One row an account follows the day; when the day is over, the account counts once in each of the
group's histograms. Bins are integers, so histograms of any shards, added up in any order, are the
same.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core import contract as c
from detectors.core.contract import Steps
from detectors.core.room import zeroed
from detectors.core.tables import fetch
from schemas.columns import KIND, EventColumns
from schemas.events import RefAccount
from schemas.jit import Int, inlined, kernel
from schemas.referee import decode
from schemas.whole_rows import copied, put

PEER: Final = np.dtype(
    [
        ("day_end_ns", "<i8"),
        ("day", "<i4"),  # latest trading day so far
        ("orders", "<i4"),
        ("cancels", "<i4"),  # the customer's own
        ("fills", "<i4"),
        ("closing", "<i4"),  # fills that close something
        ("wins", "<i4"),
        ("group", "<u2"),  # index + 1 of the tier's name; 0: nothing on file
        ("is_open", "u1"),  # the day is not over
        ("is_simulated", "u1"),  # something of the day was
        ("group_next", "<u2"),  # group + 1 from the day's end on; 0: the same
        ("padding", "u1", (2,)),
    ]
)
PEER_FEATURES: Final = ("orders", "cancels", "fills", "cancel_percent", "win_percent")
ORDERS, CANCELS, FILLS, CANCEL_PERCENT, WIN_PERCENT = range(len(PEER_FEATURES))
ORDERS_MIN: Final = 10  # a share of fewer says nothing
BINS: Final = 256
GROUPS_MAX: Final = 256  # tiers beyond so many share one group
OTHER: Final = "other"
_EXACT: Final = 16  # counts below have a bin each; above, eight bins an octave
_EXACT_BITS: Final = 4
_FINE_BITS: Final = 3
_DUE_NS, _COUNT = range(2)  # ``meta``
_NEVER_DUE: Final = 2**63 - 1
_AHEAD: Final = 8
_PERCENT: Final = 100


@kernel
def count_bin(count: Int) -> Any:
    """Return the bin of a count: exact below 16, then eight bins an octave.

    Examples
    --------
    >>> [count_bin(n) for n in (0, 15, 16, 17, 18, 31, 32)]
    [0, 15, 16, 16, 17, 23, 24]
    """
    if count < _EXACT:
        return max(count, 0)
    octave = 0
    while (count >> octave) >= 2 * _EXACT:
        octave += 1
    fine = (count >> (octave + _EXACT_BITS - _FINE_BITS)) & ((1 << _FINE_BITS) - 1)
    return _EXACT + (octave << _FINE_BITS) + fine


def bin_top(index: int) -> int:
    """Return the highest count of a bin.

    Examples
    --------
    >>> [bin_top(k) for k in (0, 15, 16, 17, 23, 24)]
    [0, 15, 17, 19, 31, 35]
    """
    if index < _EXACT:
        return index
    octave, fine = divmod(index - _EXACT, 1 << _FINE_BITS)
    width = 1 << (octave + _EXACT_BITS - _FINE_BITS)
    return ((1 << _FINE_BITS) + fine + 1) * width - 1


@inlined
def _sum_up(peer: Any, ended: Any, meta: Any) -> None:
    """Write down an account's day that is over."""
    ended[meta[_COUNT]] = peer
    meta[_COUNT] += 1
    peer["is_open"] = 0
    if peer["group_next"] > 0:
        peer["group"] = peer["group_next"] - 1
        peer["group_next"] = 0


@inlined
def _file(peer: Any, group: Int, time_ns: Int) -> None:
    """Put an account in a group; a day that is over but still open keeps its own."""
    if peer["is_open"] and time_ns >= peer["day_end_ns"]:
        peer["group_next"] = group + 1
    else:
        peer["group"] = group


@inlined
def _begin(peer: Any, step: Any, meta: Any) -> None:
    peer["day"] = step["day"]
    peer["day_end_ns"] = step["day_end_ns"]
    peer["is_open"] = 1
    peer["is_simulated"] = 0
    peer["orders"] = 0
    peer["cancels"] = 0
    peer["fills"] = 0
    peer["closing"] = 0
    peer["wins"] = 0
    meta[_DUE_NS] = min(meta[_DUE_NS], step["day_end_ns"])


@kernel
def _file_all(peers: Any, accounts: Any, group: Int, time_ns: Int) -> None:
    for account in accounts:
        _file(peers[account], group, time_ns)


@kernel
def follow_peers(peers: Any, ended: Any, meta: Any, steps: Any, groups: Any) -> None:
    """Count what accounts do, and write down the days that end with one of these steps.

    A day is over with the account's first trade at or after its end, or of a later day: whether
    somebody looked at the clock in between changes nothing. Its other rows end no day, since they
    may come on a lane that is ahead of the trades'.

    Parameters
    ----------
    peers
        Shape (accounts,), dtype ``PEER``.
    ended
        Shape (n,), dtype ``PEER``: receives the days that are over.
    meta
        Shape (2,), int64: when the earliest open day ends, how many stand in ``ended``.
    steps
        Shape (n,), dtype ``STEP``.
    groups
        Shape (n,) or (0,), int32: the group that the row puts its account in; -1 for none.
    """
    for i in range(len(steps)):
        step = steps[i]
        if i + _AHEAD < len(steps) and steps[i + _AHEAD]["account"] >= 0:
            fetch(peers, steps[i + _AHEAD]["account"])
        account, what = step["account"], step["what"]
        if account < 0:
            continue
        peer = peers[account]
        if len(groups) and groups[i] >= 0:
            _file(peer, groups[i], step["time_ns"])
        if what & (c.NEW | c.CANCEL | c.FILL) == 0 or step["day"] < peer["day"]:
            continue
        is_over = step["day"] > peer["day"] or step["time_ns"] >= peer["day_end_ns"]
        if peer["is_open"] and is_over:
            _sum_up(peer, ended, meta)
        if not peer["is_open"]:
            _begin(peer, step, meta)
        peer["orders"] += np.int32(what & c.NEW != 0)
        peer["cancels"] += np.int32(what & c.CANCEL != 0)
        peer["fills"] += np.int32(what & c.FILL != 0)
        peer["is_simulated"] |= np.uint8(what & c.SIMULATED != 0)
        if what & c.CLOSING != 0:
            peer["closing"] += np.int32(1)
            peer["wins"] += np.int32(step["pnl_e8"] > 0)


@kernel
def end_days(peers: Any, ended: Any, meta: Any, watermark_ns: Int) -> None:
    """Write down every open day that ended by the watermark; ``ended`` has room for all."""
    meta[_DUE_NS] = _NEVER_DUE
    for i in range(len(peers)):
        peer = peers[i]
        if peer["is_open"] == 0:
            continue
        if peer["day_end_ns"] <= watermark_ns:
            _sum_up(peer, ended, meta)
        else:
            meta[_DUE_NS] = min(meta[_DUE_NS], peer["day_end_ns"])


@inlined
def _count_day(day: Any, histograms: Any) -> None:
    histograms[ORDERS, count_bin(np.int64(day["orders"]))] += 1
    histograms[CANCELS, count_bin(np.int64(day["cancels"]))] += 1
    histograms[FILLS, count_bin(np.int64(day["fills"]))] += 1
    if day["orders"] >= ORDERS_MIN:
        share = np.int64(day["cancels"]) * _PERCENT // day["orders"]
        histograms[CANCEL_PERCENT, min(share, _PERCENT)] += 1
    if day["closing"] >= ORDERS_MIN:
        histograms[WIN_PERCENT, np.int64(day["wins"]) * _PERCENT // day["closing"]] += 1


@kernel
def count_alike(ended: Any, first: Int, is_counted: Any, histograms: Any) -> Any:
    """Count the ended days that belong with day ``first``; return the first that does not.

    Parameters
    ----------
    ended
        Shape (n,), of ``PEER``.
    is_counted
        Shape (n,), bool: days counted before, which are passed over; receives these.
    histograms
        Shape (features, bins), int64.

    Returns
    -------
    int
        n where none is left. A day's end finds few sorts of days, so this is quicker than sorting.
    """
    left = np.int64(len(ended))
    alike = ended[first]
    for i in range(first, len(ended)):
        day = ended[i]
        if is_counted[i]:
            continue
        if (
            day["day_end_ns"] == alike["day_end_ns"]
            and day["day"] == alike["day"]
            and day["group"] == alike["group"]
            and day["is_simulated"] == alike["is_simulated"]
        ):
            is_counted[i] = True
            _count_day(day, histograms)
        elif left == len(ended):
            left = np.int64(i)
    return left


class PeerKey(NamedTuple):
    """Which histograms: of the days that end at one moment, of one group."""

    day_end_ns: int
    day: int
    tier: str
    is_simulated: bool


class PeerCounts(Struct, frozen=True):
    """Histograms of one shard's accounts whose day is over.

    ``bins`` holds, by feature, the bins that are not empty: (bin, accounts).
    """

    day_end_ns: int
    day: int
    tier: str
    is_simulated: bool
    bins: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def key(self) -> PeerKey:
        """Which histograms these belong to."""
        return PeerKey(self.day_end_ns, self.day, self.tier, self.is_simulated)


@dataclass(slots=True)
class _Names:
    """Names of tiers by number, from 1."""

    numbers: dict[str, int]

    def number(self, tier: str | None) -> int:
        """Return the tier's number; 0 for none."""
        if not tier:
            return 0
        if tier not in self.numbers and len(self.numbers) >= GROUPS_MAX:
            tier = OTHER
        return self.numbers.setdefault(tier, len(self.numbers) + 1)


class Peers:
    """The peers of one shard."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, PEER)
        self._ended = np.zeros(0, PEER)
        self._meta = np.array([_NEVER_DUE, 0], np.int64)
        self._names = _Names({})
        self._histograms: dict[PeerKey, NDArray[np.int64]] = {}

    @property
    def held_bytes(self) -> int:
        """The bytes of the accounts' rows."""
        return self._rows.nbytes

    @property
    def due_ns(self) -> int:
        """The time before which no day ends by itself."""
        return int(self._meta[_DUE_NS])

    @property
    def tiers(self) -> list[str]:
        """Names of tiers; the first has number 1."""
        return list(self._names.numbers)

    def take(self, steps: Steps, groups: NDArray[np.int32], accounts: int) -> None:
        """Take the steps of some rows.

        Parameters
        ----------
        steps
            Shape (n,), dtype ``STEP``.
        groups
            What ``groups_of`` says of the rows.
        accounts
            How many the account table has room for.
        """
        if accounts > len(self._rows):
            rows = zeroed((accounts,), PEER)
            put(rows[: len(self._rows)], self._rows)
            self._rows = rows
        if len(steps) > len(self._ended):
            self._ended = np.zeros(len(steps), PEER)
        follow_peers(self._rows, self._ended, self._meta, steps, groups)
        self._count(self._ended)

    def groups_of(self, columns: EventColumns, steps: Steps) -> NDArray[np.int32]:
        """Return the groups that rows put their accounts in, -1 for none.

        Shape (n,), or (0,) where no row does.
        """
        filed = np.flatnonzero(columns.rows["kind"] == KIND["ref.account"])
        if len(filed) == 0:
            return np.zeros(0, np.int32)
        groups = np.full(len(steps), -1, np.int32)
        for index in filed[steps["account"][filed] >= 0].tolist():
            event = decode(columns.line(index))
            assert isinstance(event, RefAccount), "its kind says so"
            groups[index] = self._names.number(event.tier)
        return groups

    def close(self, watermark_ns: int) -> list[PeerCounts]:
        """End the days that ended by the watermark; return what was counted since last time."""
        if self.due_ns <= watermark_ns:
            ended = zeroed((len(self._rows),), PEER)  # room for all is not kept
            end_days(self._rows, ended, self._meta, watermark_ns)
            self._count(ended)
        counts = [_pack(key, self._histograms[key]) for key in sorted(self._histograms)]
        self._histograms = {}
        return counts

    def _count(self, written: NDArray[np.void]) -> None:
        """Count the days that were written down as over."""
        count = int(self._meta[_COUNT])
        if count == 0:
            return
        self._meta[_COUNT] = 0
        ended = written[:count]
        tiers = ["", *self._names.numbers]
        is_counted = np.zeros(count, np.bool_)
        first = 0
        while first < count:
            day = ended[first]
            tier, is_simulated = tiers[day["group"]], bool(day["is_simulated"])
            key = PeerKey(int(day["day_end_ns"]), int(day["day"]), tier, is_simulated)
            empty = np.zeros((len(PEER_FEATURES), BINS), np.int64)
            histograms = self._histograms.setdefault(key, empty)
            first = int(count_alike(ended, first, is_counted, histograms))

    def filed(self, count: int) -> NDArray[np.bool_]:
        """Say which of the first ``count`` accounts have a tier, which is said only once."""
        held = np.zeros(count, np.bool_)
        rows = self._rows[:count]
        held[: len(rows)] = np.where(
            rows["group_next"] > 0, rows["group_next"] > 1, rows["group"] > 0
        )
        return held

    def needs(self, count: int) -> NDArray[np.bool_]:
        """Say which of the first ``count`` accounts have an open day, or a tier."""
        held = self.filed(count)
        rows = self._rows[:count]
        held[: len(rows)] |= rows["is_open"] > 0
        return held

    def forget(self, accounts: NDArray[np.int64], time_ns: int) -> None:
        """Take accounts out of their tiers as of some time."""
        _file_all(self._rows, accounts[accounts < len(self._rows)], 0, time_ns)

    def let_go(self, accounts: NDArray[np.int64]) -> None:
        """Forget accounts whose rows others may have from now on."""
        self._rows[accounts[accounts < len(self._rows)]] = np.zeros((), PEER)

    def dump(self) -> dict[str, Any]:
        """Return everything; rows, as bytes, are the ones at work: a snapshot copies."""
        used = np.flatnonzero((self._rows["day"] != 0) | (self._rows["group"] != 0))
        end = int(used[-1]) + 1 if len(used) else 0
        counts = [_pack(key, held) for key, held in self._histograms.items()]
        return {
            "rows": self._rows[:end].view(np.uint8),
            "due_ns": self.due_ns,
            "tiers": list(self._names.numbers),
            "counts": [(*one.key, one.bins) for one in counts],
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> "Peers":
        """Rebuild from a dump."""
        peers = cls()
        peers._rows = copied(np.frombuffer(dumped["rows"], PEER))
        peers._meta[_DUE_NS] = dumped["due_ns"]
        peers._names = _Names({tier: n for n, tier in enumerate(dumped["tiers"], 1)})
        for counts in (PeerCounts(*fields) for fields in dumped["counts"]):
            histograms = np.zeros((len(PEER_FEATURES), BINS), np.int64)
            add_counts(histograms, counts)
            peers._histograms[counts.key] = histograms
        return peers


def _pack(key: PeerKey, histograms: NDArray[np.int64]) -> PeerCounts:
    bins = tuple(tuple((int(at), int(one[at])) for at in np.flatnonzero(one)) for one in histograms)
    return PeerCounts(*key, bins)


def add_counts(histograms: NDArray[np.int64], counts: PeerCounts) -> None:
    """Add a shard's counts to histograms of shape (features, bins)."""
    for feature, bins in enumerate(counts.bins):
        for at, accounts in bins:
            histograms[feature, at] += accounts


def quantile(bins: NDArray[np.int64], per_mille: int) -> int:
    """Return the bin at or below which at least that share of the accounts stands.

    Raises
    ------
    ValueError
        If the histogram is empty.

    Examples
    --------
    >>> quantile(np.array([1, 0, 2, 1]), 500)
    2
    """
    reached = np.cumsum(bins)
    if reached[-1] == 0:
        raise ValueError("an empty histogram has no quantiles")
    wanted = -(-int(reached[-1]) * per_mille // 1_000)
    return int(np.searchsorted(reached, max(wanted, 1)))
