"""Live features: what each account has done, as of its last row that had an effect.

One row an account, at the account's place in the account table, filled by one kernel over the steps
of a batch. Accounts that changed are handed out whole, each at most once in so much event time.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core import contract as c
from detectors.core.contract import Steps
from detectors.core.room import zeroed
from detectors.core.tables import fetch
from schemas.columns import Bytes, EventColumns, Rows
from schemas.jit import Int, kernel
from schemas.referee import names_of
from schemas.whole_rows import copied, put

FEATURE: Final = np.dtype(
    [
        ("applied", "<i8"),  # rows of the account that had an effect
        ("last_event_time_ns", "<i8"),  # the highest
        ("first_event_time_ns", "<i8"),  # of the first row counted
        ("name_start", "<i8"),  # into ``Features.names``
        ("day", "<i4"),  # trading day of the counts below, the latest so far
        ("orders", "<i4"),
        ("cancels", "<i4"),  # the customer's own
        ("fills", "<i4"),
        ("open_orders", "<i4"),  # entered on the day, and no row has ended them
        ("fill_units", "<i4"),  # closing fills, all days
        ("fill_wins", "<i4"),
        ("order_units", "<i4"),  # orders with a closing fill, all days
        ("order_wins", "<i4"),
        ("name_size", "<u2"),
        ("is_dirty", "u1"),
        ("padding", "u1"),
    ]
)
HANDED_MAX: Final = 4_096  # accounts at once, so that no message grows large
_DIRTY, _FRESH = range(2)  # ``counts``
_AHEAD: Final = 8
_NEVER: Final = (-(2**62), -(2**62))


@dataclass(frozen=True, slots=True)
class HandOut:
    """Some accounts' features.

    Attributes
    ----------
    since
        Events of the shard before the first one counted: 0, unless features were switched on in
        the middle of a run.
    names
        Tenant and account of each row.
    rows
        Shape (n,), dtype ``FEATURE``.
    """

    since: int
    names: list[tuple[str, str]]
    rows: NDArray[np.void]


@kernel
def _count_day(feature: Any, step: Any) -> None:
    """Count what the day's figures count; a row of an earlier day changes none of them."""
    if step["day"] > feature["day"]:
        feature["day"] = step["day"]
        feature["orders"] = 0
        feature["cancels"] = 0
        feature["fills"] = 0
        feature["open_orders"] = 0
    if step["day"] < feature["day"]:
        return
    what = step["what"]
    feature["orders"] += np.int32(what & c.NEW != 0)
    feature["cancels"] += np.int32(what & c.CANCEL != 0)
    feature["fills"] += np.int32(what & c.FILL != 0)
    feature["open_orders"] += step["open_change"]


@kernel
def _begin(feature: Any, time_ns: Int) -> None:
    """Count an account from here on, for the first time or after it was idle for long."""
    feature["applied"] = 0
    feature["first_event_time_ns"] = time_ns
    feature["last_event_time_ns"] = time_ns
    feature["day"] = 0
    feature["orders"] = 0
    feature["cancels"] = 0
    feature["fills"] = 0
    feature["open_orders"] = 0
    feature["fill_units"] = 0
    feature["fill_wins"] = 0
    feature["order_units"] = 0
    feature["order_wins"] = 0


@kernel
def follow(features: Any, dirty: Any, fresh: Any, counts: Any, steps: Any, idle_ns: Int) -> None:
    """Let steps change the features of their accounts.

    Parameters
    ----------
    features
        Shape (accounts,), dtype ``FEATURE``.
    dirty
        Shape (accounts,), int32: receives accounts that change for the first time since handed out.
    fresh
        Shape (n,), int32: receives the steps that are the first of their account.
    counts
        Shape (2,), int64: how many stand in ``dirty`` and ``fresh``.
    steps
        Shape (n,), dtype ``STEP``.
    idle_ns
        An account that was idle for longer is counted anew, whether or not its row was let go
        meanwhile: so when that happens makes no difference.
    """
    for i in range(len(steps)):
        step = steps[i]
        if i + _AHEAD < len(steps) and steps[i + _AHEAD]["account"] >= 0:
            fetch(features, steps[i + _AHEAD]["account"])
        account = step["account"]
        if account < 0:
            continue
        feature = features[account]
        if feature["name_size"] == 0:
            fresh[counts[_FRESH]] = i
            counts[_FRESH] += 1
            feature["name_size"] = 1  # until it is read
        is_back = idle_ns > 0 and step["time_ns"] > feature["last_event_time_ns"] + idle_ns
        if feature["applied"] == 0 or is_back:
            _begin(feature, step["time_ns"])
        if feature["is_dirty"] == 0:
            feature["is_dirty"] = 1
            dirty[counts[_DIRTY]] = account
            counts[_DIRTY] += 1
        feature["applied"] += 1
        feature["last_event_time_ns"] = max(feature["last_event_time_ns"], step["time_ns"])
        what = step["what"]
        if what & (c.NEW | c.CANCEL | c.FILL) != 0 or step["open_change"] != 0:
            _count_day(feature, step)
        if what & c.CLOSING != 0:
            feature["fill_units"] += np.int32(1)
            feature["fill_wins"] += np.int32(step["pnl_e8"] > 0)
            feature["order_units"] += step["order_units"]
            feature["order_wins"] += step["order_wins"]


class Features:
    """The features of one shard's accounts.

    Parameters
    ----------
    every_ns
        How much event time passes between two hand-outs; 0: none need pass.
    tenant
        Of accounts whose rows name none.
    since
        See ``HandOut``.
    idle_ns
        An account idle for longer is counted anew when it comes back; 0: never.
    """

    def __init__(self, every_ns: int, tenant: str, since: int = 0, idle_ns: int = 0) -> None:
        self._every_ns = every_ns
        self._idle_ns = idle_ns
        self._tenant = tenant
        self._since = since
        self._rows = np.zeros(0, FEATURE)
        self._dirty = np.zeros(0, np.int32)
        self._fresh = np.zeros(0, np.int32)
        self._counts = np.zeros(2, np.int64)
        self._names = bytearray()  # a name an account, for as long as the account is kept
        self._unused = 0  # bytes of names of accounts that were let go
        self._last_ns = 0
        self._handed = _NEVER

    def take(self, columns: EventColumns, steps: Steps, accounts: int) -> None:
        """Take the steps of some rows; ``accounts`` is how many the account table has room for."""
        self._reserve(accounts, len(steps))
        follow(self._rows, self._dirty, self._fresh, self._counts, steps, self._idle_ns)
        if self._counts[_FRESH]:
            fresh = self._fresh[: self._counts[_FRESH]]
            lines = EventColumns(columns.rows.take(fresh), columns.raw).lines()
            self._keep_names(steps["account"][fresh], *lines)
            self._counts[_FRESH] = 0
        if len(steps):
            self._last_ns = int(steps["time_ns"][-1])

    def _reserve(self, accounts: int, steps: int) -> None:
        if accounts > len(self._rows):
            rows, dirty = zeroed((accounts,), FEATURE), np.zeros(accounts, np.int32)
            put(rows[: len(self._rows)], self._rows)
            dirty[: len(self._dirty)] = self._dirty
            self._rows, self._dirty = rows, dirty
        if steps > len(self._fresh):
            self._fresh = np.zeros(steps, np.int32)

    def _keep_names(self, accounts: NDArray[np.int32], rows: Rows, raw: Bytes) -> None:
        """Read the accounts' names from the lines of their first rows."""
        lines, starts, sizes = raw.data, [], []
        for start, size in zip(
            rows["line_start"].tolist(), rows["line_length"].tolist(), strict=True
        ):
            names = names_of(lines[start : start + size])
            name = f"{names.tenant or self._tenant}\0{names.account_id}".encode()
            starts.append(len(self._names))
            sizes.append(len(name))
            self._names += name
        self._rows["name_start"][accounts] = starts
        self._rows["name_size"][accounts] = sizes

    def hand_out(self, watermark_ns: int, *, is_last: bool) -> HandOut | None:
        """Return accounts that changed, if it is time to; the rest follows with the next call.

        It is time when the rows, or the watermark, have come to another stretch of ``every_ns``:
        one row from a wrong clock then makes two hand-outs, but holds none back.
        """
        every_ns = max(1, self._every_ns)
        stretch = (self._last_ns // every_ns, watermark_ns // every_ns)
        count = int(self._counts[_DIRTY])
        if count == 0 or not (is_last or self._every_ns == 0 or stretch != self._handed):
            return None
        now = count if is_last else min(count, HANDED_MAX)
        if now == count:
            self._handed = stretch
        accounts = self._dirty[:now].copy()
        self._dirty[: count - now] = self._dirty[now:count].copy()
        self._counts[_DIRTY] = count - now
        self._rows["is_dirty"][accounts] = 0
        rows = self._rows.take(accounts)
        return HandOut(self._since, self._names_at(rows), rows)

    def _names_at(self, rows: NDArray[np.void]) -> list[tuple[str, str]]:
        found, names = [], self._names
        places = zip(rows["name_start"].tolist(), rows["name_size"].tolist(), strict=True)
        for start, size in places:
            tenant, _, account_id = names[start : start + size].decode().partition("\0")
            found.append((tenant, account_id))
        return found

    def needs(self, count: int) -> NDArray[np.bool_]:
        """Say which of the first ``count`` accounts changed and were not handed out yet."""
        waits = np.zeros(count, np.bool_)
        held = self._rows["is_dirty"][:count] != 0
        waits[: len(held)] = held
        return waits

    def let_go(self, accounts: NDArray[np.int64]) -> None:
        """Forget accounts whose rows others may have from now on."""
        accounts = accounts[accounts < len(self._rows)]
        self._unused += int(self._rows["name_size"][accounts].sum())
        self._rows[accounts] = np.zeros((), FEATURE)
        if 2 * self._unused > len(self._names):
            self._gather_names()

    def _gather_names(self) -> None:
        """Write the names of accounts that are left together."""
        named = np.flatnonzero(self._rows["name_size"])
        held, names = self._names, bytearray()
        starts = []
        for start, size in zip(
            self._rows["name_start"][named].tolist(),
            self._rows["name_size"][named].tolist(),
            strict=True,
        ):
            starts.append(len(names))
            names += held[start : start + size]
        self._rows["name_start"][named] = starts
        self._names, self._unused = names, 0

    def dump(self) -> dict[str, Any]:
        """Return everything, for a snapshot to copy."""
        used = np.flatnonzero(self._rows["applied"])
        end = int(used[-1]) + 1 if len(used) else 0
        return {
            "rows": self._rows[:end].view(np.uint8),
            "names": np.frombuffer(bytes(self._names), np.uint8),
            "since": self._since,
            "unused": self._unused,
        }

    @classmethod
    def load(
        cls, every_ns: int, tenant: str, dumped: dict[str, Any], idle_ns: int = 0
    ) -> "Features":
        """Rebuild from a dump; every account is to be handed out.

        Nobody knows what was handed out and not sent before the end of an earlier process, nor
        whether what was sent is still held.
        """
        features = cls(every_ns, tenant, dumped["since"], idle_ns)
        features._unused = dumped["unused"]
        features._rows = copied(np.frombuffer(dumped["rows"], FEATURE))
        features._dirty = np.zeros(len(features._rows), np.int32)
        known = np.flatnonzero(features._rows["applied"])
        features._dirty[: len(known)] = known
        features._counts[_DIRTY] = len(known)
        features._rows["is_dirty"] = features._rows["applied"] > 0
        features._names = bytearray(bytes(dumped["names"]))
        return features
