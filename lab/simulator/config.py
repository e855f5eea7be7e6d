"""What is simulated, and what was planted in it."""

import datetime as dt
import warnings
from typing import Final

import exchange_calendars  # type: ignore[import-untyped]  # the package carries no types
from msgspec import Struct

from lab.simulator.plant_files import STRENGTHS, FilePlant
from lab.simulator.venues import INSTRUMENTS_MIN, VENUES

EVENTS_PER_ACCOUNT_MAX: Final = 1_000
MINUTES_MIN: Final = 5


class SimulatorConfig(Struct, frozen=True, kw_only=True):
    """One simulated trading day; the same config gives the same bytes.

    Parameters
    ----------
    events
        Lines written, exactly.
    seed
        Root of every random stream.
    accounts
        Accounts that may act; a few of them carry a plant.
    instruments
        Contracts and stocks over all venues: 8 index futures, 16 commodity futures, and stocks.
    minutes
        Continuous-trading minutes of each venue from its open, after its opening auction.
        None: the whole day.
    trading_date
        Must be a session of every venue.
    plants
        Names from ``plant_names()``, each with or without ``@strength``. None: as many families
        as fit into half of the events, those of thousands of orders only from 1 M events.
    strengths
        Multiples of a rule's figure at which each named family is planted.
    prevalence
        Share of accounts that carry an abusive plant; the chosen plants are repeated or thinned
        out to meet it. None: each chosen plant once.
    plant_files
        Plants from files, see ``load_plants``, each at its own strengths; ``plants`` None then
        means no others.
    """

    events: int = 200_000
    seed: int = 1
    accounts: int = 10_000
    instruments: int = 112
    minutes: int | None = None
    trading_date: str = "2026-03-04"
    plants: tuple[str, ...] | None = None
    strengths: tuple[float, ...] = STRENGTHS
    prevalence: float | None = None
    plant_files: tuple[FilePlant, ...] = ()


class Truth(Struct, frozen=True, kw_only=True):
    """What one account was made to do, and what a sound monitor says of it.

    Attributes
    ----------
    registered
        A registration exempts it from the rules it would otherwise break. One for another
        instrument, another kind or a past day exempts from nothing, so it is False there.
    expected_rules
        Ids of the rules that alert on it; empty for the others.
    reached
        The value built, over the rule's figure: counts are whole and rates end at 1, so this may
        differ from ``strength``.
    variant
        How a look-alike is registered; empty for abusive plants.
    """

    account_id: str
    behaviour: str
    strength: float
    innocent: bool
    registered: bool
    start_ns: int
    end_ns: int
    expected_rules: tuple[str, ...]
    reached: float
    variant: str = ""


def check_config(config: SimulatorConfig) -> None:
    """Refuse what cannot be simulated.

    Raises
    ------
    ValueError
        A sentence that says what to change.
    """
    if config.events < 1:
        raise ValueError(f"events is {config.events}; ask for at least 1 event")
    if config.accounts < 1 or config.events > config.accounts * EVENTS_PER_ACCOUNT_MAX:
        raise ValueError(
            f"{config.events} events by {config.accounts} accounts would make ordinary accounts "
            f"look abusive; ask for at least {config.events // EVENTS_PER_ACCOUNT_MAX + 1} accounts"
        )
    if config.instruments < INSTRUMENTS_MIN:
        raise ValueError(f"instruments is {config.instruments}; ask for {INSTRUMENTS_MIN} or more")
    if config.minutes is not None and config.minutes < MINUTES_MIN:
        raise ValueError(
            f"minutes is {config.minutes}; plants need at least {MINUTES_MIN} minutes of trading"
        )
    if config.prevalence is not None and not 0 <= config.prevalence <= 1:
        raise ValueError(f"prevalence is {config.prevalence}; it is a share between 0 and 1")
    if any(strength <= 0 for strength in config.strengths):
        raise ValueError("strengths are multiples of a rule's figure; give numbers above 0")
    _check_date(config.trading_date)


def _check_date(trading_date: str) -> None:
    try:
        day = dt.date.fromisoformat(trading_date)
    except ValueError:
        raise ValueError(f"trading_date {trading_date!r} is not a date like 2026-03-04") from None
    for name in sorted({venue.calendar for venue in VENUES}):
        around = dt.timedelta(days=7)
        try:
            # Its warnings are about the inside of pandas and concern nobody who simulates.
            with warnings.catch_warnings(action="ignore"):
                calendar = exchange_calendars.get_calendar(
                    name, start=day - around, end=day + around
                )
        except ValueError as error:
            raise ValueError(
                f"the calendar of {name} does not reach {trading_date}; choose an earlier date"
            ) from error
        if not calendar.is_session(trading_date):
            raise ValueError(f"{name} is closed on {trading_date}; choose a day all venues trade")
