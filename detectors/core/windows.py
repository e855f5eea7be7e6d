"""Windows: how much accounts do in stretches of one, five and fifteen minutes.

An action is an order, a replace or the customer's own cancel; an emergency stop is nobody's habit
and counts for nothing. Windows begin at whole multiples of their length, so that all accounts'
stand side by side. Whether an account's next window is looked at is decided before it begins: it is
once the account has done ten things since the start of the one before it. So who does little costs
little, and who does much is looked at all the time; what comes of a window decides nothing about
whether it counts, as a test that bets on it needs.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core import contract as c
from detectors.core.contract import Steps
from detectors.core.room import zeroed
from detectors.core.tallies import COUNT, DUE_NS, LIFETIME_BINS, NAME, NEVER_DUE, TALLY, WINDOW
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel
from schemas.whole_rows import copied, put

WINDOW_SECONDS: Final = (60, 300, 900)
SIZES: Final = len(WINDOW_SECONDS)
ACTIONS_BEFORE: Final = 10
_WILD: Final = 4  # lengths ahead; the next window ends two ahead at most, unless rows come late
_LENGTHS_NS: Final = tuple(seconds * SECOND_NS for seconds in WINDOW_SECONDS)
_COUNT_MAX: Final = 2**32 - 1

# One account's window of one length.
WINDOW_AT_HAND: Final = np.dtype(
    [
        ("end_ns", "<i8"),  # of the one looked at; negative: none is, and the latest ended then
        ("position", "<i8"),  # of the latest action in it, or of the one that decided on it
        ("actions", "<u4"),
        ("since", "u1"),  # actions since the latest one began, as far as they are needed
        ("is_listed", "u1"),
        ("is_simulated", "u1"),
        ("registered", "u1"),
        ("claimed", "u1"),
        ("padding", "u1", (3,)),
    ]
)
# What they have in common.
ACTOR: Final = np.dtype(
    [
        ("day_end_ns", "<i8"),
        ("day", "<i4"),
        ("name", "<i4"),  # of which group it was last named, and in which money; 0: not today
        ("group", "<u2"),
        ("padding", "u1", (6,)),
    ]
)
TALLIES_A_STEP: Final = 2 * SIZES + 1  # of each length two that are over, and a name
_LISTED: Final = 2  # ``meta``, behind what units have there too


class WindowArrays(NamedTuple):
    """The windows as kernels take them.

    Attributes
    ----------
    windows
        Shape (accounts * SIZES,), dtype ``WINDOW_AT_HAND``.
    actors
        Shape (accounts,), dtype ``ACTOR``.
    accounts
        Shape (accounts,), dtype ``ACCOUNT``.
    listed
        Shape (accounts * SIZES,), int32: windows that are looked at.
    meta
        Shape (3,), int64: when the earliest window ends, how many tallies and listed there are.
    """

    windows: NDArray[np.void]
    actors: NDArray[np.void]
    accounts: NDArray[np.void]
    listed: NDArray[np.int32]
    meta: NDArray[np.int64]


@inlined
def _write(kind: Int, where: Any, at: Int, held: Any, out: Any) -> None:
    """Write a tally; ``where`` is (row of the batch or -1, time, begin, number of the length)."""
    window, row = held.windows[at], at // SIZES
    actor, account = held.actors[row], held.accounts[row]
    tally = out[held.meta[COUNT]]
    held.meta[COUNT] += 1
    tally["line_start"] = 0
    tally["line_length"] = 0
    tally["kind"] = kind
    tally["row"] = where[0]
    tally["event_time_ns"] = where[1]
    tally["begin_ns"] = where[2]
    tally["size"] = where[3]
    tally["is_simulated"] = window["is_simulated"]
    tally["registered"] = window["registered"]
    tally["claimed"] = window["claimed"]
    tally["account_1"] = account["key_1"]
    tally["account_2"] = account["key_2"]
    tally["position"] = window["position"]
    tally["day_end_ns"] = actor["day_end_ns"]
    tally["day"] = actor["day"]
    tally["group"] = actor["group"]
    tally["actions"] = window["actions"]
    tally["orders"] = 0
    tally["canceled"] = 0
    for k in range(LIFETIME_BINS):
        tally["lifetimes"][k] = 0


@inlined
def _begin(window: Any, end_ns: Int) -> None:
    window["end_ns"] = end_ns
    window["actions"] = 0
    window["since"] = 0


@kernel
def _settle(at: Int, time_ns: Int, held: Any, out: Any) -> None:
    """Write a window if it is over by then; the next is looked at if enough was done in it."""
    window, size = held.windows[at], at % SIZES
    while 0 < window["end_ns"] <= time_ns:
        end_ns = np.int64(window["end_ns"])
        where = (np.int64(-1), end_ns - 1, end_ns - _LENGTHS_NS[size], size)
        _write(np.int64(WINDOW), where, at, held, out)
        if window["since"] >= ACTIONS_BEFORE:
            _begin(window, end_ns + _LENGTHS_NS[size])
        else:
            window["end_ns"] = -end_ns


@inlined
def _count(window: Any, step: Any) -> None:
    """Count an action into the window, if it is of it."""
    window["actions"] = min(np.int64(window["actions"]) + 1, _COUNT_MAX)
    window["since"] = min(np.int64(window["since"]) + 1, ACTIONS_BEFORE)
    window["position"] = step["position"]
    window["registered"] = step["registered"]
    window["claimed"] = step["claimed"]


@kernel
def _open(at: Int, time_ns: Int, is_simulated: Int, held: Any) -> None:
    """Decide that the next window is looked at."""
    window, length_ns = held.windows[at], _LENGTHS_NS[at % SIZES]
    window["is_simulated"] = is_simulated
    # None twice, however late what decides on it comes.
    _begin(window, max((time_ns // length_ns + 2) * length_ns, length_ns - window["end_ns"]))
    held.meta[DUE_NS] = min(held.meta[DUE_NS], window["end_ns"])
    if not window["is_listed"]:
        window["is_listed"] = 1
        held.listed[held.meta[_LISTED]] = at
        held.meta[_LISTED] += 1


@inlined
def _disown(window: Any, actor: Any, time_ns: Int, length_ns: Int) -> None:
    """Give up a window that begins later than any next one could: a wild clock decided on it.

    The name that it told comes late as well, so it is told again.
    """
    if window["actions"] == 0 and time_ns + _WILD * length_ns < window["end_ns"]:
        window["end_ns"] = 0
        window["since"] = 0
        actor["name"] = 0


@kernel
def _act(step: Any, i: Int, held: Any, out: Any) -> None:
    """Let an action change its account's windows."""
    row, time_ns = np.int64(step["account"]), np.int64(step["time_ns"])
    is_simulated = np.uint8(step["what"] & c.SIMULATED != 0)
    begun = np.int64(-1)
    for size in range(SIZES):
        at = row * SIZES + size
        window = held.windows[at]
        _disown(window, held.actors[row], time_ns, np.int64(_LENGTHS_NS[size]))
        if window["end_ns"] > 0:
            is_within = time_ns >= window["end_ns"] - _LENGTHS_NS[size]
            if is_within and window["is_simulated"] == is_simulated:
                _count(window, step)
            continue
        _count(window, step)
        if window["since"] >= ACTIONS_BEFORE:
            _open(at, time_ns, np.int64(is_simulated), held)
            begun = at
    actor = held.actors[row]
    name = 1 + 2 * np.int64(actor["group"]) + np.int64(is_simulated)
    if begun >= 0 and actor["name"] != name:
        actor["name"] = name
        _write(np.int64(NAME), (i, time_ns, time_ns, np.int64(0)), begun, held, out)


@kernel
def follow_windows(held: Any, out: Any, steps: Any, groups: Any) -> None:
    """Let steps change the windows of their accounts, and write tallies.

    Parameters
    ----------
    held
        ``WindowArrays``.
    out
        Shape (``TALLIES_A_STEP`` n,), dtype ``TALLY``: receives tallies.
    steps
        Shape (n,), dtype ``STEP``.
    groups
        Shape (n,) or (0,), int32: the group that the row puts its account in; -1 for none.
    """
    for i in range(len(steps)):
        step = steps[i]
        row = np.int64(step["account"])
        if row < 0:
            continue
        actor = held.actors[row]
        if len(groups) and groups[i] >= 0:
            actor["group"] = groups[i]
        if step["what"] & c.ACTION == 0 or step["what"] & c.KILL_SWITCH != 0:
            continue
        for size in range(SIZES):
            _settle(row * SIZES + size, np.int64(step["time_ns"]), held, out)
        if actor["day"] != step["day"]:
            actor["name"] = 0
        actor["day"] = step["day"]
        actor["day_end_ns"] = step["day_end_ns"]
        _act(step, np.int64(i), held, out)


@kernel
def end_windows(held: Any, out: Any, watermark_ns: Int) -> None:
    """Settle every window that is over by the watermark; ``out`` has room for two tallies each."""
    meta, kept = held.meta, 0
    meta[DUE_NS] = NEVER_DUE
    for place in range(meta[_LISTED]):
        at = np.int64(held.listed[place])
        _settle(at, watermark_ns, held, out)
        window = held.windows[at]
        if window["end_ns"] <= 0:
            window["is_listed"] = 0
            continue
        held.listed[kept] = at
        kept += 1
        meta[DUE_NS] = min(meta[DUE_NS], window["end_ns"])
    meta[_LISTED] = kept


class Windows:
    """The windows at hand of one shard's accounts; see the module's words."""

    def __init__(self) -> None:
        self._actors = np.zeros(0, ACTOR)
        self._windows = np.zeros(0, WINDOW_AT_HAND)
        self._listed = np.zeros(0, np.int32)
        self._out = np.zeros(0, TALLY)
        self._meta = np.array([NEVER_DUE, 0, 0], np.int64)

    def take(
        self, steps: Steps, groups: NDArray[np.int32], accounts: NDArray[np.void]
    ) -> NDArray[np.void]:
        """Take the steps of some rows; return their tallies, names without their bytes.

        Parameters
        ----------
        steps
            What rows mean.
        groups
            The group each row puts its account in (see ``Peers.groups_of``).
        accounts
            The account table's rows.
        """
        self._reserve(len(accounts))
        if TALLIES_A_STEP * len(steps) > len(self._out):
            self._out = zeroed((TALLIES_A_STEP * len(steps),), TALLY)
        follow_windows(self._arrays(accounts), self._out, steps, groups)
        return self._written(self._out)

    def close(self, watermark_ns: int, accounts: NDArray[np.void]) -> NDArray[np.void]:
        """Settle the windows that are over by the watermark; return their tallies."""
        if int(self._meta[DUE_NS]) > watermark_ns:
            return self._out[:0]
        out = zeroed((2 * int(self._meta[_LISTED]),), TALLY)
        end_windows(self._arrays(accounts), out, watermark_ns)
        return self._written(out)

    def _arrays(self, accounts: NDArray[np.void]) -> WindowArrays:
        return WindowArrays(self._windows, self._actors, accounts, self._listed, self._meta)

    def _reserve(self, accounts: int) -> None:
        if accounts <= len(self._actors):
            return
        actors, windows = zeroed((accounts,), ACTOR), zeroed((accounts * SIZES,), WINDOW_AT_HAND)
        listed = zeroed((accounts * SIZES,), np.int32)
        put(actors[: len(self._actors)], self._actors)
        put(windows[: len(self._windows)], self._windows)
        listed[: len(self._listed)] = self._listed
        self._actors, self._windows, self._listed = actors, windows, listed

    def _written(self, out: NDArray[np.void]) -> NDArray[np.void]:
        count, self._meta[COUNT] = int(self._meta[COUNT]), 0
        return copied(out[:count])

    def needs(self, count: int) -> NDArray[np.bool_]:
        """Say which of the first ``count`` accounts have a window that is not over."""
        held = np.zeros(count, np.bool_)
        is_open = np.any((self._windows["end_ns"] > 0).reshape(-1, SIZES), axis=1)[:count]
        held[: len(is_open)] = is_open
        return held

    def forget(self, accounts: NDArray[np.int64]) -> None:
        """Take accounts out of their groups."""
        self._actors["group"][accounts[accounts < len(self._actors)]] = 0

    def let_go(self, accounts: NDArray[np.int64]) -> None:
        """Forget accounts whose rows others may have from now on."""
        own = accounts[accounts < len(self._actors)]
        self._actors[own] = np.zeros((), ACTOR)
        for size in range(SIZES):
            self._windows[own * SIZES + size] = np.zeros((), WINDOW_AT_HAND)
        self._list_anew()

    def _list_anew(self) -> None:
        listed = np.flatnonzero(self._windows["is_listed"])
        self._listed[: len(listed)] = listed
        self._meta[_LISTED] = len(listed)

    def dump(self) -> dict[str, Any]:
        """Return everything; rows, as bytes, are the ones at work: a snapshot copies."""
        used = np.flatnonzero((self._actors["day"] != 0) | (self._actors["group"] != 0))
        end = int(used[-1]) + 1 if len(used) else 0
        return {
            "actors": self._actors[:end].view(np.uint8),
            "windows": self._windows[: end * SIZES].view(np.uint8),
            "due_ns": int(self._meta[DUE_NS]),
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> "Windows":
        """Rebuild from a dump."""
        held = cls()
        held._actors = copied(np.frombuffer(dumped["actors"], ACTOR))
        held._windows = copied(np.frombuffer(dumped["windows"], WINDOW_AT_HAND))
        held._listed = np.zeros(len(held._windows), np.int32)
        held._meta[DUE_NS] = dumped["due_ns"]
        held._list_anew()
        return held
