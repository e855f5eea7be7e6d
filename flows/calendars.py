"""Trading days by venue: where each begins, so that kernels need only compare times.

A trading day begins at local midnight after the one before it (so a weekend's rows belong to
Monday), or earlier where the venue opens earlier: at 18:00 for Chinese futures, whose night session
belongs to the next day. Calendars are loaded when a venue is first met; what was made of them is
kept in a cache, as the library takes a second or more to import.
"""

import warnings
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from flows.calendar_cache import CalendarCache, DayTable
from schemas.events import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS
HOUR_NS: Final = 3_600 * SECOND_NS
ALWAYS_OPEN: Final = "24/7"
# Fixed, not relative to today: the same events must fall on the same days whenever they are read.
_FIRST_DAY: Final = "2000-01-01"
_LAST_DAY: Final = "2035-12-31"  # holidays are computed until then, or until they are not known
_LAST_WEEKDAY: Final = "2100-01-10"  # no event is later than 2099
_ERROR_SHOWN: Final = 80  # characters
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
    """A calendar that is not known, or that the library cannot make."""


class TradingDays:
    """The trading days of the venues met so far.

    Parameters
    ----------
    default
        The calendar of rows whose venue has none of its own: a name that exchange_calendars
        knows, or ``24/7`` for days of UTC.
    cache
        Folder for tables made once; None keeps none.

    Attributes
    ----------
    zone_day_ns
        Where a day of the default calendar begins, ns after midnight UTC; below 0 in the east.
        Rows that name no venue, such as ``position.closed``, have such days: every date is one.

    Raises
    ------
    CalendarError
        If the default is not known or cannot be made.
    """

    def __init__(self, default: str = ALWAYS_OPEN, cache: Path | None = None) -> None:
        self._indices: dict[str, int] = {}
        self._tables: dict[_Alias, int] = {}
        self._known_until: dict[str, int] = {}  # calendar -> end of the last day known, ns
        self._broken: list[str] = []
        self.starts: NDArray[np.int64] = np.zeros((0, 1), np.int64)
        self.numbers: NDArray[np.int32] = np.zeros((0, 1), np.int32)
        self._default = default
        self._cache = CalendarCache(cache)
        if default != ALWAYS_OPEN and default not in self._known:
            raise CalendarError(
                f"There is no calendar {default!r}; use {ALWAYS_OPEN} or a name that "
                "exchange_calendars knows, such as XSHG or XPAR."
            )
        self.zone_day_ns = self._zone_day_ns()

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._cache.names(_library_names))

    def _zone_day_ns(self) -> int:
        if self._default == ALWAYS_OPEN:
            return 0
        zone = ZoneInfo(self._table(_Alias(self._default)).zone)
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

    def notes(self, until_ns: int) -> list[str]:
        """Return what people should know about days up to ``until_ns``, event time."""
        guessed = [
            f"The calendar {name} knows holidays until {_date(known_ns)}; after that every weekday "
            "counts as a trading day. A newer exchange_calendars may know more."
            for name, known_ns in sorted(self._known_until.items())
            if until_ns >= known_ns
        ]
        return [*guessed, *self._broken]

    def _load(self, venue: str) -> int:
        alias = _ALIASES.get(venue, _Alias(venue))
        if venue not in _ALIASES and (not _looks_like_mic(venue) or venue not in self._known):
            alias = _Alias(self._default)
        try:
            return self._index_of(alias)
        except CalendarError as error:
            self._broken.append(f"{error} Its days are taken from {self._default}.")
            return self._index_of(_Alias(self._default))

    def _index_of(self, alias: _Alias) -> int:
        if alias.calendar == ALWAYS_OPEN:
            return 0
        if alias not in self._tables:
            table = self._table(alias)
            self._append(table.starts, table.numbers)
            self._known_until[alias.calendar] = table.known_until_ns
            self._tables[alias] = len(self.starts)
        return self._tables[alias]

    def _table(self, alias: _Alias) -> DayTable:
        key = f"{alias.calendar.replace('/', '-')}-{alias.early_ns}"
        return self._cache.table(key, lambda: _days(alias.calendar, alias.early_ns))

    def _append(self, starts: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
        width = max(self.starts.shape[1], len(starts))
        self.starts = np.vstack([_padded(row, width, _FAR_NS) for row in (*self.starts, starts)])
        self.numbers = np.vstack([_padded(row, width, 0) for row in (*self.numbers, numbers)])


def _padded(row: NDArray[Any], width: int, value: int) -> NDArray[Any]:
    return np.concatenate([row, np.full(width - len(row), value, row.dtype)])


def _looks_like_mic(venue: str) -> bool:
    return len(venue) == 4 and venue.isalnum()  # noqa: PLR2004 - ISO 10383


def _date(time_ns: int) -> str:
    return datetime.fromtimestamp((time_ns - 1) // SECOND_NS, UTC).date().isoformat()


def _library_names() -> list[str]:
    import exchange_calendars  # type: ignore[import-untyped]  # noqa: PLC0415 - a second to import, needed by some runs only

    return list(exchange_calendars.get_calendar_names(include_aliases=False))


def _calendar(name: str) -> Any:
    """Return a calendar between the fixed days, or as far as the library knows it."""
    import exchange_calendars  # noqa: PLC0415 - as above
    import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own dependencies' deprecations
        try:
            any_years = exchange_calendars.get_calendar(name)
            start, end = pd.Timestamp(_FIRST_DAY), pd.Timestamp(_LAST_DAY)
            start = max(start, any_years.bound_min() or start)
            end = min(end, any_years.bound_max() or end)
            return exchange_calendars.get_calendar(name, start=start, end=end)
        except (ValueError, NotImplementedError) as error:
            # Some calendars contradict themselves, or this version of pandas.
            text = str(error)[:_ERROR_SHOWN]
            raise CalendarError(
                f"exchange_calendars cannot make the calendar {name} ({text})."
            ) from error


def _days(name: str, early_ns: int) -> DayTable:
    """Return where each trading day begins and its number; one more start ends the last."""
    import pandas as pd  # noqa: PLC0415 - as above

    calendar = _calendar(name)
    sessions = calendar.sessions
    # Past a calendar's end: weekdays. Holidays are then counted as trading days.
    beyond = pd.bdate_range(calendar.last_session, _LAST_WEEKDAY)
    days = sessions.append(beyond[beyond > calendar.last_session])
    # Where clocks change at midnight, the day begins with its first moment.
    midnights = (days + pd.Timedelta(days=1)).tz_localize(
        calendar.tz, nonexistent="shift_forward", ambiguous=np.ones(len(days), bool)
    )
    starts = midnights.as_unit("ns").asi8[:-1] - early_ns
    opens = pd.DatetimeIndex(calendar.opens).as_unit("ns").asi8
    starts[: len(opens) - 1] = np.minimum(starts[: len(opens) - 1], opens[1:])
    numbers = (days.as_unit("ns").asi8 // DAY_NS).astype(np.int32)
    known_until_ns = int(starts[len(sessions) - 1])
    return DayTable(starts, numbers[1:], known_until_ns, str(calendar.tz))
