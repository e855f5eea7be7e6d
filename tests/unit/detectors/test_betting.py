"""The betting bank keeps its bound under the null, and certifies as fast as its figures say."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from detector_kit import DAY_NS, START_NS, rule_of

from detectors.core import contract as c
from detectors.core.betting import budget_of
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.registry import build_detector

UNITS_A_DAY = 20


@dataclass
class Bank:
    """The detector alone, fed with rows that say who won when."""

    null_rate: float
    budget: float  # of one account in 24 hours

    def __post_init__(self) -> None:
        parameters = {
            "null_rate": self.null_rate,
            "alarms_a_day": self.budget * 1.1,
            "tests": 1,
            "accounts_planned": 1,
            "simulated_only": False,
        }
        self.detector = build_detector(rule_of("certified_win_rate", parameters), 0)
        self.state = SubjectState.of(self.detector.state_dtype, c.RECENT)

    def take(self, accounts: Any, days: Any, wins: Any) -> Any:
        """Feed units: account, time in days since the start, won or not; return the findings."""
        steps = np.zeros(len(wins), c.STEP)
        steps["rules"] = 1
        steps["what"] = c.TRIP
        steps["account"] = accounts
        steps["day"] = np.floor(days)
        steps["time_ns"] = START_NS + np.round(days * DAY_NS)
        steps["day_end_ns"] = START_NS + (steps["day"].astype(np.int64) + 1) * DAY_NS
        steps["trip_pnl_e8"] = np.where(wins, 1, -1)
        self.state.reserve(int(np.max(accounts)) + 1, len(steps), uses_pool=False)
        out = FindingBuffer.of(2 * len(steps))
        self.detector.update(steps, self.state, out)
        found = out.take()
        return found[found["phase"] != c.HEADROOM]

    @property
    def scores(self) -> float:
        return float(self.state.rows["scores"][: self.state.used].sum())


def even(units: int, accounts: int) -> tuple[Any, Any]:
    """Return who has each unit, all in turns, and when."""
    owners = np.tile(np.arange(accounts), units)
    days = np.repeat((np.arange(units) + 1) / UNITS_A_DAY, accounts)
    return owners, days


def runs_of_luck(rng: np.random.Generator, units: int, accounts: int) -> Any:
    """Return wins that all accounts share for an hour: dependent, and still within the null."""
    return np.repeat(rng.random(units), accounts) < 0.9


def single_luck(rng: np.random.Generator, units: int, accounts: int) -> Any:
    return rng.random(units * accounts) < 0.9


@pytest.mark.parametrize("luck", [single_luck, runs_of_luck])
def test_no_more_alarms_than_were_granted_under_the_null(luck: Any) -> None:
    accounts, units, granted, rounds = 400, 1_000, 40.0, 12
    owners, days = even(units, accounts)
    budget = granted / accounts / (units / UNITS_A_DAY)
    excess = []
    for seed in range(rounds):
        bank = Bank(0.9, budget)
        alarms = len(bank.take(owners, days, luck(np.random.default_rng(seed), units, accounts)))
        excess.append(alarms + bank.scores - granted)
    mean, error = np.mean(excess), np.std(excess) / np.sqrt(rounds)
    assert mean <= 3 * error, (mean, error)
    assert np.mean(excess) > -granted, "nothing ever alarmed"


def test_above_the_null_there_are_more() -> None:
    owners, days = even(1_000, 400)
    bank = Bank(0.9, 40.0 / 400 / 50)
    wins = np.random.default_rng(1).random(len(owners)) < 0.93
    assert len(bank.take(owners, days, wins)) > 100


def test_volume_grants_nothing() -> None:
    bank = Bank(0.9, 1e-3)
    for count in (2_000, 20_000):
        days = np.linspace(0.001, 0.999, count)
        bank.state = SubjectState.of(bank.detector.state_dtype, c.RECENT)
        # Every outcome is a loss of a little, so that scores can only be what was granted.
        bank.take(np.zeros(count, np.int64), days, np.zeros(count, bool))
        assert bank.scores <= 1e-3


def test_days_without_units_grant_nothing() -> None:
    bank = Bank(0.9, 1e-3)
    bank.take(np.array([0, 0]), np.array([0.5, 30.25]), np.array([True, True]))
    assert bank.scores < 1e-3 * (0.5 * 1.12 + 0.25)


# Units until an alarm at the product's default budget: the median over accounts.
@pytest.mark.parametrize(
    ("null_rate", "rate", "least", "most"),
    [
        (0.9, 1.0, 135, 155),
        (0.9, 0.99, 165, 200),
        (0.9, 0.95, 560, 720),
        (0.5, 0.75, 85, 110),
        (0.5, 0.9, 32, 42),
    ],
)
def test_certainty_takes_so_many_units(
    null_rate: float, rate: float, least: int, most: int
) -> None:
    accounts, units = 300, 3 * most
    owners, days = even(units, accounts)
    bank = Bank(null_rate, budget_of(5.0, 7, 100_000))
    wins = np.random.default_rng(3).random(len(owners)) < rate
    found = bank.take(owners, days, wins)
    first = np.full(accounts, units)
    for finding in found[found["ordinal"] == 0]:
        account = int(bank.state.rows["subject"][:accounts].tolist().index(finding["subject"]))
        first[account] = min(first[account], finding["numbers"][0])
    assert least <= np.median(first) <= most, np.median(first)


def test_after_an_alarm_bets_begin_anew() -> None:
    bank = Bank(0.5, 1e-3)
    days = (np.arange(200) + 1) / UNITS_A_DAY
    found = bank.take(np.zeros(200, np.int64), days, np.ones(200, bool))
    between = np.diff(found["numbers"][:, 0])
    assert len(found) > 5
    assert between.min() > 5, "each needs its own evidence"
    assert np.all(found["onset_ns"][1:] == found["time_ns"][:-1])
