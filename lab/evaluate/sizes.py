"""How much is tried."""

from typing import Final

from msgspec import Struct


class Sizes(Struct, frozen=True, kw_only=True):
    """How much is tried.

    Attributes
    ----------
    seeds
        Rounds of each world, each with outcomes of its own.
    accounts, units
        Of each round: accounts, and units of each.
    units_a_day
        Of each account, evenly over the day.
    granted
        Alarms granted in a round, all accounts together.
    counts
        After how many units the share of accounts named is told.
    delay_accounts
        Accounts whose delays the median is of.
    trap_accounts, trap_days
        Accounts of each trap, and days.
    share_accounts, share_days
        Accounts whose cancel ratios are tested, and days.
    share_granted
        Alarms a day granted to each of them where alarms are counted against the bound.
    share_plants
        How many of them begin to cancel more, in a round of their own.
    edge_accounts
        Accounts of a round that all go as far as their nulls allow.
    burst_accounts, burst_days, burst_granted
        The same of bursts: accounts, days, and alarms a day granted to each against the bound.
    burst_edge_accounts
        Accounts of a round of which one in fifty goes as far as its null allows.
    stream_families
        Null families that run as streams; none: all.
    stream_accounts, stream_days
        Of each stream; makers come on top.
    stream_past_units
        Units of an account's own past that tests ask for; shipped are 50.
    stream_granted
        Alarms a day granted to all tests of a stream together where alarms are counted.
    evasion_accounts, evasion_tried
        Accounts of each adversary's market, and how many of them try.
    mornings, morning_events, morning_accounts
        Mornings on which layerers are looked for, and what ordinary accounts do on each.
    """

    seeds: int
    accounts: int
    units: int
    units_a_day: int = 20
    granted: float = 40.0
    counts: tuple[int, ...] = (50, 100, 200, 500, 1_000, 2_000)
    delay_accounts: int
    trap_accounts: int
    trap_days: int
    share_accounts: int
    share_days: int
    share_granted: float
    share_plants: int
    edge_accounts: int
    burst_accounts: int
    burst_days: int
    burst_granted: float
    burst_edge_accounts: int
    stream_families: tuple[str, ...] = ()
    stream_accounts: int
    stream_days: int
    stream_past_units: int
    stream_granted: float
    evasion_accounts: int
    evasion_tried: int
    mornings: int
    morning_events: int
    morning_accounts: int


FULL: Final = Sizes(
    seeds=20,
    accounts=400,
    units=1_000,
    delay_accounts=1_000,
    trap_accounts=20_000,
    trap_days=100,
    share_accounts=20_000,
    share_days=20,
    share_granted=0.001,
    share_plants=200,
    edge_accounts=2_000,
    burst_accounts=10_000,
    burst_days=20,
    burst_granted=2.0,
    burst_edge_accounts=2_000,
    stream_accounts=300,
    stream_days=10,
    stream_past_units=50,
    stream_granted=150.0,
    evasion_accounts=5_000,
    evasion_tried=100,
    mornings=20,
    morning_events=100_000,
    morning_accounts=10_000,
)
QUICK: Final = Sizes(
    seeds=4,
    accounts=100,
    units=400,
    granted=10.0,
    counts=(50, 200, 500),
    delay_accounts=100,
    trap_accounts=2_000,
    trap_days=5,
    share_accounts=1_000,
    share_days=6,
    share_granted=0.01,
    share_plants=40,
    edge_accounts=500,
    burst_accounts=600,
    burst_days=6,
    burst_granted=2.0,
    burst_edge_accounts=500,
    stream_families=("plain", "makers", "regimes"),
    stream_accounts=100,
    stream_days=4,
    stream_past_units=10,
    stream_granted=150.0,
    evasion_accounts=600,
    evasion_tried=20,
    mornings=2,
    morning_events=20_000,
    morning_accounts=5_000,
)
