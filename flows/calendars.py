"""Trading days by venue: where each begins, so that kernels need only compare times.

A trading day begins at local midnight after the one before it (so a weekend's rows belong to
Monday), or earlier where the venue opens earlier: at 18:00 for Chinese futures, whose night session
belongs to the next day. Calendars are loaded when a venue is first met.
"""

import warnings
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.events import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS
HOUR_NS: Final = 3_600 * SECOND_NS
ALWAYS_OPEN: Final = "24/7"
_FIRST_DAY: Final = "2010-01-01"
_BEYOND_DAYS: Final = 400  # weekdays assumed past a calendar's end
_FAR_NS: Final = 2**62
_JANUARY: Final = datetime(2026, 1, 15)  # noqa: DTZ001 - the zone is what is asked about


class _Alias(NamedTuple):
    """A venue whose days are another's, beginning so long before midnight."""

    calendar: str
    early_ns: int = 0


_ALIASES: Final = {
    "XSHE": _Alias("XSHG"),
    "BJSE": _Alias("XSHG"),
    "CCFX": _Alias("XSHG"),
    **{venue: _Alias("XSHG", 6 * HOUR_NS) for venue in ("XSGE", "XDCE", "XZCE", "XINE", "GFEX")},
}


class CalendarError(ValueError):
    """A calendar that is not known."""


class TradingDays:
    """The trading days of the venues met so far.

    Parameters
    ----------
    default
        The calendar of rows whose venue has none of its own: a name that exchange_calendars
        knows, or ``24/7`` for days of UTC.

    Raises
    ------
    CalendarError
        If the default is not known.
    """

    def __init__(self, default: str = ALWAYS_OPEN) -> None:
        self._indices: dict[str, int] = {}
        self._names: list[str] = []
        self.starts: NDArray[np.int64] = np.zeros((0, 1), np.int64)
        self.numbers: NDArray[np.int32] = np.zeros((0, 1), np.int32)
        self._default = default
        self.notes: list[str] = []
        if default != ALWAYS_OPEN and default not in self._known:
            raise CalendarError(
                f"There is no calendar {default!r}; use {ALWAYS_OPEN} or a name that "
                "exchange_calendars knows, such as XSHG or XPAR."
            )

    @cached_property
    def _known(self) -> frozenset[str]:
        import exchange_calendars  # noqa: PLC0415 - a second to import, needed by some runs only

        return frozenset(exchange_calendars.get_calendar_names(include_aliases=False))

    @property
    def zone_day_ns(self) -> int:
        """Where a day of the default calendar begins, ns after midnight UTC (at most 0)."""
        if self._default == ALWAYS_OPEN:
            return 0
        zone = _zone(self._default)
        # Rows without a venue are few and never near midnight: winter's offset serves all year.
        offset = zone.utcoffset(_JANUARY)
        assert offset is not None
        return -int(offset.total_seconds()) * SECOND_NS

    def index(self, venue: str) -> int:
        """Return the venue's calendar for ``starts`` and ``numbers``, plus 1; 0 for none."""
        found = self._indices.get(venue)
        if found is None:
            found = self._indices[venue] = self._load(venue)
        return found

    def _load(self, venue: str) -> int:
        alias = _ALIASES.get(venue, _Alias(venue))
        if venue not in _ALIASES and (not _looks_like_mic(venue) or venue not in self._known):
            alias = _Alias(self._default)
        if alias.calendar == ALWAYS_OPEN:
            return 0
        name = f"{alias.calendar}-{alias.early_ns}"
        if name not in self._names:
            self._append(*_days(alias.calendar, alias.early_ns))
            self._names.append(name)
        return self._names.index(name) + 1

    def _append(self, starts: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
        width = max(self.starts.shape[1], len(starts))
        self.starts = np.vstack([_padded(row, width, _FAR_NS) for row in (*self.starts, starts)])
        self.numbers = np.vstack([_padded(row, width, 0) for row in (*self.numbers, numbers)])


def _padded(row: NDArray[Any], width: int, value: int) -> NDArray[Any]:
    return np.concatenate([row, np.full(width - len(row), value, row.dtype)])


def _looks_like_mic(venue: str) -> bool:
    return len(venue) == 4 and venue.isalnum()  # noqa: PLR2004 - ISO 10383


@lru_cache(16)
def _calendar(name: str) -> Any:
    import exchange_calendars  # noqa: PLC0415 - as above

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own dependencies' deprecations
        return exchange_calendars.get_calendar(name, start=_FIRST_DAY)


def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(str(_calendar(name).tz))


def _days(name: str, early_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return where each trading day begins (ns) and its number; one more start ends the last."""
    import pandas as pd  # noqa: PLC0415 - comes with exchange_calendars

    calendar = _calendar(name)
    sessions = calendar.sessions
    # Past a calendar's end: weekdays. Holidays are then counted as trading days.
    beyond = pd.bdate_range(sessions[-1], periods=_BEYOND_DAYS)[1:]
    days = sessions.append(beyond)
    midnights = (days + pd.Timedelta(days=1)).tz_localize(calendar.tz).as_unit("ns").asi8
    opens = pd.DatetimeIndex(calendar.opens).as_unit("ns").asi8
    starts = midnights[:-1] - early_ns
    starts[: len(opens) - 1] = np.minimum(starts[: len(opens) - 1], opens[1:])
    numbers = (days.as_unit("ns").asi8 // DAY_NS).astype(np.int32)
    return starts, numbers[1:]
