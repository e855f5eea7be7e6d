"""Where trading happens: venues, their sessions on one day, their instruments.

Session time counts nanoseconds of the simulated segments only: breaks take none of it. All
trading is generated in session time and mapped to the wall clock at the end, so that nothing can
happen during a break.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.columns import SESSION_PHASE_CODES
from schemas.events import SECOND_NS

MINUTE_NS: Final = 60 * SECOND_NS
OPENING: Final = SESSION_PHASE_CODES.index("opening_auction")
CONTINUOUS: Final = SESSION_PHASE_CODES.index("continuous")
CLOSING: Final = SESSION_PHASE_CODES.index("closing_auction")

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one trading phase, in local minutes after midnight."""

    phase: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue and its day. ``group`` tells equities (0), futures (1) and Paris (2) apart."""

    mic: str
    source: str
    zone: str
    calendar: str
    group: int
    share: float
    segments: tuple[Segment, ...]
    no_cancel: tuple[tuple[int, int], ...] = ()


def _at(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes)


def _segments(*parts: tuple[int, str, str]) -> tuple[Segment, ...]:
    return tuple(Segment(phase, _at(start), _at(end)) for phase, start, end in parts)


XSHG: Final = Venue(
    "XSHG", "sim-xshg", "Asia/Shanghai", "XSHG", 0, 0.55,
    _segments(
        (OPENING, "09:15", "09:25"), (CONTINUOUS, "09:30", "11:30"),
        (CONTINUOUS, "13:00", "14:57"), (CLOSING, "14:57", "15:00"),
    ),
    no_cancel=((_at("09:20"), _at("09:25")), (_at("14:57"), _at("15:00"))),
)  # fmt: skip
# The futures exchanges keep the mainland's holidays, and exchange_calendars knows only XSHG.
CCFX: Final = Venue(
    "CCFX", "sim-ccfx", "Asia/Shanghai", "XSHG", 1, 0.10,
    _segments((CONTINUOUS, "09:30", "11:30"), (CONTINUOUS, "13:00", "15:00")),
)  # fmt: skip
XSGE: Final = Venue(
    "XSGE", "sim-xsge", "Asia/Shanghai", "XSHG", 1, 0.15,
    _segments(
        (CONTINUOUS, "09:00", "10:15"), (CONTINUOUS, "10:30", "11:30"),
        (CONTINUOUS, "13:30", "15:00"),
    ),
)  # fmt: skip
XPAR: Final = Venue(
    "XPAR", "sim-xpar", "Europe/Paris", "XPAR", 2, 0.20,
    _segments(
        (OPENING, "08:55", "09:00"), (CONTINUOUS, "09:00", "17:30"), (CLOSING, "17:30", "17:35"),
    ),
)  # fmt: skip
VENUES: Final = (XSHG, CCFX, XSGE, XPAR)
GROUPS: Final = 3

# product, tick in cents, units a contract, price in cents: as listed in early 2026, roughly
_INDEX: Final = (
    ("IF", 20, 300, 468_000), ("IH", 20, 300, 302_000),
    ("IC", 20, 200, 832_000), ("IM", 20, 200, 820_000),
)  # fmt: skip
_INDEX_MONTHS: Final = ("2603", "2604")
_COMMODITIES: Final = (
    ("cu2605", 1000, 5, 10_200_000), ("al2605", 500, 5, 2_360_000), ("zn2605", 500, 5, 2_450_000),
    ("pb2605", 500, 5, 1_700_000), ("ni2605", 1000, 1, 13_900_000), ("sn2605", 1000, 1, 37_000_000),
    ("au2606", 2, 1000, 114_000), ("ag2606", 100, 15, 2_200_000), ("rb2605", 100, 10, 306_000),
    ("hc2605", 100, 10, 322_000), ("ss2605", 500, 5, 1_400_000), ("ru2605", 500, 10, 1_640_000),
    ("bu2606", 100, 10, 330_000), ("fu2605", 100, 10, 280_000), ("sp2605", 200, 10, 530_000),
    ("ao2605", 100, 20, 280_000),
)  # fmt: skip
_STOCKS_MIN: Final = 60
_PARIS_MIN: Final = 24
_FUTURES: Final = len(_INDEX) * len(_INDEX_MONTHS) + len(_COMMODITIES)
_QUIET_STOCKS, _QUIET_PARIS = 24, 16
_QUIET_CENTS: Final = 10_000
INSTRUMENTS_MIN: Final = _STOCKS_MIN + _PARIS_MIN + _FUTURES


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument; money in cents, ``multiplier`` in units a lot of a contract stands for."""

    name: str
    venue: int
    tick_cents: int
    lot: int
    multiplier: int
    price_cents: int
    board: str
    is_quiet: bool = False  # ordinary accounts do not trade it


def list_instruments(count: int) -> tuple[Instrument, ...]:
    """Return ``count`` instruments, venue by venue; what goes beyond the least are stocks.

    Stocks that nobody but a plant trades come on top of them: of such a one a plant knows what all
    trades and the last price are.
    """
    paris = _PARIS_MIN + (count - INSTRUMENTS_MIN) // 4
    stocks = count - _FUTURES - paris
    # Spread over 3.00 to 300 yuan and 12 to 700 euro on a log scale, in no order of their codes.
    shanghai = (
        Instrument(f"{600_000 + 7 * i}", 0, 1, 100, 1, _spread(i, stocks, 300, 100), "main")
        for i in range(stocks)
    )
    index = (
        Instrument(product + month, 1, tick, 1, multiplier, price, "index_futures")
        for month in _INDEX_MONTHS
        for product, tick, multiplier, price in _INDEX
    )
    commodities = (
        Instrument(name, 2, tick, 1, multiplier, price, "commodity_futures")
        for name, tick, multiplier, price in _COMMODITIES
    )
    french = (
        Instrument(f"FR{1_200_000 + 31 * i:010d}", 3, 1, 1, 1, _spread(i, paris, 1_200, 58), "main")
        for i in range(paris)
    )
    quiet = (
        Instrument(f"{688_000 + 3 * i}", 0, 1, 100, 1, _QUIET_CENTS, "main", is_quiet=True)
        for i in range(_QUIET_STOCKS)
    )
    quiet_french = (
        Instrument(f"FR{1_400_000 + 17 * i:010d}", 3, 1, 1, 1, _QUIET_CENTS, "main", is_quiet=True)
        for i in range(_QUIET_PARIS)
    )
    return (*shanghai, *index, *commodities, *french, *quiet, *quiet_french)


def _spread(index: int, count: int, low_cents: int, factor: int) -> int:
    rank = index * 37 % count / count
    return int(low_cents * float(factor) ** rank)


@dataclass(frozen=True, slots=True)
class Session:
    """One venue's simulated part of one day.

    Attributes
    ----------
    wall_ns, offset_ns
        Start of each segment on the wall clock and in session time, shape (segments,).
    phase
        Phase code of each segment.
    length_ns
        Of the session, in session time.
    open_ns, close_ns
        First and last (exclusive) moment of continuous trading, in session time.
    day_start_ns
        Local midnight, UTC.
    full_ns
        Length of the whole day's session, simulated or not.
    """

    venue: Venue
    wall_ns: Ints
    offset_ns: Ints
    phase: NDArray[np.uint8]
    length_ns: int
    open_ns: int
    close_ns: int
    day_start_ns: int
    full_ns: int

    def segment_of(self, time_ns: Ints) -> Ints:
        """Return the segment index of session times, any shape."""
        return np.searchsorted(self.offset_ns, time_ns, side="right").astype(np.int64) - 1

    def to_wall(self, time_ns: Ints) -> Ints:
        """Map session time to UTC nanoseconds, any shape."""
        segment = self.segment_of(time_ns)
        return self.wall_ns[segment] + time_ns - self.offset_ns[segment]

    def is_auction(self, time_ns: Ints) -> NDArray[np.bool_]:
        """Tell session times inside an auction."""
        inside: NDArray[np.bool_] = self.phase[self.segment_of(time_ns)] != CONTINUOUS
        return inside

    def uncross(self, time_ns: Ints) -> Ints:
        """Move session times inside an auction into its last second, keeping their order."""
        segment = self.segment_of(time_ns)
        ends = np.append(self.offset_ns[1:], self.length_ns)
        length = (ends - self.offset_ns)[segment]
        share = (time_ns - self.offset_ns[segment]) / length
        moved = ends[segment] - SECOND_NS + (share * SECOND_NS).astype(np.int64)
        inside = (self.phase[segment] != CONTINUOUS) & (time_ns < self.length_ns)
        return np.where(inside, moved, time_ns)

    def forbids_cancel(self, wall_ns: Ints) -> NDArray[np.bool_]:
        """Tell wall-clock times at which the venue takes no cancels."""
        minute = (wall_ns - self.day_start_ns) // MINUTE_NS
        forbidden = np.zeros(len(wall_ns), np.bool_)
        for start, end in self.venue.no_cancel:
            forbidden |= (minute >= start) & (minute < end)
        return forbidden


def open_session(venue: Venue, trading_date: str, minutes: int | None) -> Session:
    """Lay out one venue's day: its opening auction and ``minutes`` of continuous trading."""
    day = dt.datetime.fromisoformat(trading_date).replace(tzinfo=ZoneInfo(venue.zone))
    day_start_ns = int(day.timestamp()) * SECOND_NS
    segments = _cut(venue.segments, minutes)
    lengths = np.array([s.end - s.start for s in segments], np.int64) * MINUTE_NS
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    traded = [i for i, s in enumerate(segments) if s.phase == CONTINUOUS]
    return Session(
        venue=venue,
        wall_ns=day_start_ns + np.array([s.start for s in segments], np.int64) * MINUTE_NS,
        offset_ns=offsets[:-1],
        phase=np.array([s.phase for s in segments], np.uint8),
        length_ns=int(offsets[-1]),
        open_ns=int(offsets[traded[0]]),
        close_ns=int(offsets[traded[-1] + 1]),
        day_start_ns=day_start_ns,
        full_ns=sum(s.end - s.start for s in venue.segments) * MINUTE_NS,
    )


def _cut(segments: tuple[Segment, ...], minutes: int | None) -> list[Segment]:
    """Keep the first ``minutes`` of continuous trading and drop the rest, closing auction too."""
    if minutes is None:
        return list(segments)
    kept: list[Segment] = []
    left = minutes
    for segment in segments:
        if segment.phase == CONTINUOUS:
            end = min(segment.end, segment.start + left)
            left -= end - segment.start
            kept.append(Segment(segment.phase, segment.start, end))
        elif left > 0 or minutes >= _continuous_minutes(segments):
            kept.append(segment)
        if left <= 0 and minutes < _continuous_minutes(segments):
            break
    return kept


def _continuous_minutes(segments: tuple[Segment, ...]) -> int:
    return sum(s.end - s.start for s in segments if s.phase == CONTINUOUS)
