import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from flows import calendars
from flows.calendar_cache import CalendarCache, DayTable
from flows.calendars import CalendarError, TradingDays
from schemas.events import SECOND_NS

DAY_NS = 86_400 * SECOND_NS


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calendars")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND_NS


def day_at(days: TradingDays, venue: str, text: str) -> str:
    """Return the trading day of a moment as the account stage's kernel finds it."""
    row = days.index(venue) - 1
    place = np.searchsorted(days.starts[row], ns(text), side="right") - 1
    return (date(1970, 1, 1) + timedelta(days=int(days.numbers[row, place]))).isoformat()


@pytest.mark.parametrize(
    ("venue", "moment", "day"),
    [
        ("XSHG", "2026-03-04T10:00:00+08:00", "2026-03-04"),
        ("XSHG", "2026-03-04T23:59:59+08:00", "2026-03-04"),
        ("XSHG", "2026-03-05T00:00:00+08:00", "2026-03-05"),
        ("XSHE", "2026-03-07T10:00:00+08:00", "2026-03-09"),  # a Saturday's rows are Monday's
        ("XSHG", "2025-10-01T10:00:00+08:00", "2025-10-09"),  # National Day, eight days
        ("XSHG", "2026-02-17T10:00:00+08:00", "2026-02-24"),  # Spring Festival
        ("CCFX", "2026-03-04T21:00:00+08:00", "2026-03-04"),  # no night session
        ("XSGE", "2026-03-04T17:59:59+08:00", "2026-03-04"),
        ("XSGE", "2026-03-04T21:00:00+08:00", "2026-03-05"),
        ("XDCE", "2026-03-06T21:00:00+08:00", "2026-03-09"),  # Friday night is Monday's
        ("XINE", "2026-03-07T01:00:00+08:00", "2026-03-09"),  # after midnight too
        ("CMES", "2026-03-04T16:30:00-06:00", "2026-03-04"),
        ("CMES", "2026-03-04T18:00:00-06:00", "2026-03-05"),  # opens the evening before
        ("CMES", "2026-03-08T18:00:00-05:00", "2026-03-09"),  # Sunday evening, clocks just changed
        ("XPAR", "2026-03-04T23:59:59+01:00", "2026-03-04"),
        ("XPAR", "2026-03-30T00:00:00+02:00", "2026-03-30"),  # the day after clocks changed
        ("XSHG", "2027-10-01T10:00:00+08:00", "2027-10-01"),  # not known: a weekday
        ("XSHG", "2027-10-02T10:00:00+08:00", "2027-10-04"),  # still no weekend trading
        ("XSHG", "2099-12-31T10:00:00+08:00", "2099-12-31"),
        ("XPAR", "2001-01-02T10:00:00+01:00", "2001-01-02"),
    ],
)
def test_a_moment_belongs_to_its_trading_day(
    cache: Path, venue: str, moment: str, day: str
) -> None:
    assert day_at(TradingDays("24/7", cache), venue, moment) == day


def test_days_begin_one_after_another_and_on_weekdays(cache: Path) -> None:
    days = TradingDays("24/7", cache)
    for venue in ("XSHG", "XSGE", "CMES", "XPAR", "XKRX"):
        row = days.index(venue) - 1
        starts = days.starts[row][days.starts[row] < 2**62]
        assert (np.diff(starts) > 0).all()
        assert (np.diff(days.numbers[row][: len(starts)]) > 0).all()


def test_venues_of_one_kind_share_a_table(cache: Path) -> None:
    days = TradingDays("XSHG", cache)
    assert days.index("XSHG") == days.index("XSHE") == days.index("CCFX") == 1
    assert days.index("XSGE") == days.index("XZCE") == 2
    assert days.index("a venue nobody knows") == 1
    assert len(days.starts) == 2


def test_a_venue_without_a_calendar_has_the_default_one(cache: Path) -> None:
    assert TradingDays("24/7", cache).index("XHYP") == 0
    assert TradingDays("XPAR", cache).index("XHYP") == 1


@pytest.mark.parametrize(
    ("default", "hours"), [("24/7", 0), ("XSHG", -8), ("XPAR", -1), ("XNYS", 5)]
)
def test_rows_without_a_venue_have_days_of_the_defaults_zone(
    cache: Path, default: str, hours: int
) -> None:
    assert TradingDays(default, cache).zone_day_ns == hours * 3_600 * SECOND_NS


def test_an_unknown_default_is_refused_with_advice(cache: Path) -> None:
    with pytest.raises(CalendarError, match="no calendar 'XXXX'; use 24/7 or a name"):
        TradingDays("XXXX", cache)


def test_people_are_told_once_days_are_only_guessed(cache: Path) -> None:
    days = TradingDays("XSHG", cache)
    assert days.notes(ns("2090-01-01T00:00:00+00:00")) == []  # nothing of it was used yet
    days.index("XSHG")
    assert days.notes(ns("2026-03-04T10:00:00+08:00")) == []
    known = [n for n in range(2026, 2036) if days.notes(ns(f"{n}-12-31T23:00:00+08:00")) == []]
    (note,) = days.notes(ns(f"{max([2025, *known]) + 1}-12-31T23:00:00+08:00"))
    assert "The calendar XSHG knows holidays until 20" in note
    assert "every weekday" in note


def test_a_calendar_that_contradicts_itself_is_replaced_and_said_to_be(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, early_ns: int) -> DayTable:
        del early_ns
        raise CalendarError(f"exchange_calendars cannot make the calendar {name} (why).")

    days = TradingDays("XSHG", cache)
    monkeypatch.setattr(calendars, "_days", refuse)
    assert days.index("XASX") == days.index("XSHG")
    (note,) = days.notes(0)
    assert note.endswith("the calendar XASX (why). Its days are taken from XSHG.")


def table(seed: int = 0) -> DayTable:
    starts = np.arange(3, dtype=np.int64) * DAY_NS
    return DayTable(starts, np.arange(3, dtype=np.int32) + seed, 5, "Asia/Shanghai")


def refuse() -> DayTable:
    raise AssertionError("made again")


def test_a_table_is_made_once(tmp_path: Path) -> None:
    made = CalendarCache(tmp_path).table("XSHG-0", table)
    found = CalendarCache(tmp_path).table("XSHG-0", refuse)
    assert (found.starts == made.starts).all()
    assert (found.numbers == made.numbers).all()
    assert (found.starts.dtype, found.numbers.dtype) == (np.int64, np.int32)
    assert found[2:] == made[2:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-30],
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda _: b"PK\x03\x04 rubbish",
        lambda _: b"\x93NUMPY",
    ],
)
def test_a_damaged_table_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    CalendarCache(tmp_path).table("XSHG-0", table)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(damage(path.read_bytes()))
    assert CalendarCache(tmp_path).table("XSHG-0", lambda: table(7)).numbers[0] == 7
    assert CalendarCache(tmp_path).table("XSHG-0", refuse).numbers[0] == 7


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root in (None, tmp_path / "file"):
        cache = CalendarCache(root)
        assert cache.table("XSHG-0", table).zone == "Asia/Shanghai"
        assert cache.names(lambda: ["XSHG"]) == ["XSHG"]


def test_a_warm_start_imports_neither_pandas_nor_the_library(cache: Path) -> None:
    TradingDays("XSHG", cache).index("XSGE")
    code = (
        "import sys; from pathlib import Path; from flows.calendars import TradingDays;"
        "days = TradingDays('XSHG', Path(sys.argv[1])); days.index('XSHG'); days.index('XSGE');"
        "assert not {'pandas', 'exchange_calendars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(cache)], check=True)
