"""The betting bank keeps its bound under the null, and certifies as fast as its figures say."""

from typing import Any

import numpy as np
import pytest
from detector_kit import DAY_NS, START_NS

from detectors.core.betting import budget_of
from lab.evaluate.bank import WinRateBank, first_alarms, in_turns

UNITS_A_DAY = 20


def even(units: int, accounts: int) -> tuple[Any, Any]:
    return in_turns(units, accounts, UNITS_A_DAY)


def runs_of_luck(rng: np.random.Generator, units: int, accounts: int) -> Any:
    """Return wins that all accounts share for an hour: dependent, and still within the null."""
    return np.repeat(rng.random(units), accounts) < 0.9


def single_luck(rng: np.random.Generator, units: int, accounts: int) -> Any:
    return rng.random(units * accounts) < 0.9


@pytest.mark.parametrize("luck", [single_luck, pytest.param(runs_of_luck, marks=pytest.mark.long)])
def test_no_more_alarms_than_were_granted_under_the_null(luck: Any) -> None:
    accounts, units, granted, rounds = 400, 1_000, 40.0, 12
    owners, days = even(units, accounts)
    budget = granted / accounts / (units / UNITS_A_DAY)
    excess = []
    for seed in range(rounds):
        bank = WinRateBank(0.9, budget)
        alarms = len(bank.take(owners, days, luck(np.random.default_rng(seed), units, accounts)))
        excess.append(alarms + bank.scores - granted)
    mean, error = np.mean(excess), np.std(excess) / np.sqrt(rounds)
    assert mean <= 3 * error, (mean, error)
    assert np.mean(excess) > -granted, "nothing ever alarmed"


def test_above_the_null_there_are_more() -> None:
    owners, days = even(1_000, 400)
    bank = WinRateBank(0.9, 40.0 / 400 / 50)
    wins = np.random.default_rng(1).random(len(owners)) < 0.93
    assert len(bank.take(owners, days, wins)) > 100


def test_volume_grants_nothing() -> None:
    bank = WinRateBank(0.9, 1e-3)
    for count in (2_000, 20_000):
        days = np.linspace(0.001, 0.999, count)
        bank.forget()
        # Every outcome is a loss of a little, so that scores can only be what was granted.
        bank.take(np.zeros(count, np.int64), days, np.zeros(count, bool))
        assert bank.scores <= 1e-3


def test_a_month_without_units_grants_a_day() -> None:
    bank = WinRateBank(0.9, 1e-3)
    bank.take(np.zeros(4, np.int64), np.array([0.5, 0.75, 30.25, 30.5]), np.ones(4, bool))
    assert 1e-3 < bank.scores < 1e-3 * 1.25 * 1.12


def test_a_wild_clock_blinds_nobody() -> None:
    days = np.arange(400) / UNITS_A_DAY + 0.01
    wins = np.ones(400, bool)
    calm, wild = WinRateBank(0.5, 1e-3), WinRateBank(0.5, 1e-3)
    expected = calm.take(np.zeros(400, np.int64), days, wins)
    found = wild.take(np.zeros(400, np.int64), np.where(np.arange(400) == 20, 18_000, days), wins)
    assert len(expected) > 10
    assert len(found) >= len(expected) - 1
    assert wild.scores <= calm.scores * 2


def test_a_finding_counts_the_run_that_led_to_it() -> None:
    bank = WinRateBank(0.9, 1e-5)
    wins = np.concatenate([np.arange(400) % 2 == 0, np.ones(300, bool)])
    days = (np.arange(len(wins)) + 1) / UNITS_A_DAY
    found = bank.take(np.zeros(len(wins), np.int64), days, wins)
    units, won = found["numbers"][0, :2].tolist()
    assert units == won > 100
    assert found["onset_ns"][0] == START_NS + round(days[400] * DAY_NS)


def test_the_share_won_in_a_run_is_above_the_null() -> None:
    owners, days = even(1_000, 200)
    bank = WinRateBank(0.9, 0.02)
    found = bank.take(owners, days, np.random.default_rng(5).random(len(owners)) < 0.89)
    units, won = found["numbers"][:, 0], found["numbers"][:, 1]
    assert len(found) > 20
    assert np.all(won > 0.9 * units)


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
    bank = WinRateBank(null_rate, budget_of(5.0, 7, 100_000))
    wins = np.random.default_rng(3).random(len(owners)) < rate
    found = bank.take(owners, days, wins)
    middle = np.median(first_alarms(found, accounts, units))
    assert least <= middle <= most, middle


def test_after_an_alarm_bets_begin_anew() -> None:
    bank = WinRateBank(0.5, 1e-3)
    days = (np.arange(200) + 1) / UNITS_A_DAY
    found = bank.take(np.zeros(200, np.int64), days, np.ones(200, bool))
    assert len(found) > 5
    assert found["numbers"][:, 0].min() > 5, "each needs its own evidence"
    assert np.all(found["onset_ns"][1:] > found["time_ns"][:-1])
