"""What drives a market: who trades how often, cancels how much, and what moves everybody.

A null family is a flow in which nobody does anything wrong. All of them share one population:
activity is log-normal with deviation 1, log odds of cancelling vary by 1. Each adds what the
others lack, so that what goes wrong with a test can be laid at its door; ``calibrated`` has makers,
baskets and bursts at once, as strong as in a real sample (see ``lab.exchange.calibration``).
"""

from typing import Final

from msgspec import Struct, structs

SESSION_S: Final = 14_220  # 09:30 to 11:30 and 13:00 to 14:57
MORNING_S: Final = 7_200
LEVELS: Final = 2_048
BASKET_SIZES: Final = (20, 500)
SOJOURN: Final = (10, 300)  # orders
# How busy the five stocks of the sample are, one beside the other.
STOCK_WEIGHTS: Final = (1.665, 1.086, 1.189, 0.219, 0.840)


class Flow(Struct, frozen=True, kw_only=True):
    """A flow of orders; a day of it is drawn by ``lab.exchange.orders``.

    Attributes
    ----------
    what
        For people.
    accounts, makers, instruments
        How many there are; makers come on top of the accounts, one instrument each.
    orders_a_second
        Of all accounts in an instrument, on average, baskets apart.
    activity_sd, odds_sd
        Deviations of log activity and of log odds of cancelling.
    cancel_odds
        Log odds that an order of the middle account is meant to be cancelled.
    quick_share, slow_median_s, slow_sd
        Of orders meant to be cancelled, the share that goes within a second; else a log-normal
        lifetime.
    taker_share, market_share
        Orders that want to trade at once; of these, market orders.
    away_ticks
        How far behind the value others rest, on average.
    volatility
        Ticks that the value moves in a second.
    maker_latency_s, maker_levels, maker_patience
        How soon makers quote anew, how many prices a side, and how many half ticks the middle may
        move until they do.
    replacing_share
        Makers that replace their quotes instead of cancelling them.
    baskets_a_day, basket_span_s, together_share
        Baskets of 20 to 500 orders; how long one takes at most; the share that is withdrawn as one.
    regime_odds
        Log odds gained or lost in stretches of 10 to 300 orders of an account.
    fast_lag_1, fast_sd, slow_lag_1, slow_intensity_sd
        The intensity's two log-normal parts, by the second.
    open_weight, open_decay_s
        How much busier the open is than the rest of the day, and for how long.
    drift_ticks, drift_odds
        What a day adds to the value, and to everybody's log odds of cancelling.
    turned_share, turned_day
        For a control, which is no null family: accounts that from a day on withdraw all they enter
        within a second.
    shocks_a_day, shock_ticks, shock_activity, shock_odds
        Moments at which the value jumps, and how much busier and readier to cancel all are then.
    """

    what: str = "orders by chance, at an even pace"
    accounts: int = 400
    makers: int = 0
    instruments: int = 5
    orders_a_second: float = 1.0
    activity_sd: float = 1.0
    odds_sd: float = 1.0
    cancel_odds: float = -0.6
    quick_share: float = 0.06
    slow_median_s: float = 40.0
    slow_sd: float = 1.9
    taker_share: float = 0.35
    market_share: float = 0.1
    away_ticks: float = 4.0
    volatility: float = 0.12
    maker_latency_s: float = 0.3
    maker_levels: int = 3
    maker_patience: int = 2
    replacing_share: float = 0.0
    baskets_a_day: float = 0.0
    basket_span_s: float = 1.0
    together_share: float = 0.5
    regime_odds: float = 0.0
    fast_lag_1: float = 0.0
    fast_sd: float = 0.0
    slow_lag_1: float = 0.0
    slow_intensity_sd: float = 0.0
    open_weight: float = 0.0
    open_decay_s: float = 600.0
    drift_ticks: float = 0.0
    drift_odds: float = 0.0
    shocks_a_day: float = 0.0
    shock_ticks: float = 25.0
    shock_activity: float = 6.0
    shock_odds: float = 1.0
    turned_share: float = 0.0
    turned_day: int = 0


_PLAIN: Final = Flow()
# Fitted, by simplex search and by hand, until its figures were those of the sample.
CALIBRATED: Final = Flow(
    what="makers, baskets and bursts, as strong as in the Shanghai sample",
    accounts=2_000,
    makers=15,
    orders_a_second=1.55,
    cancel_odds=-1.9,
    quick_share=0.135,
    maker_latency_s=2.0,
    maker_patience=2,
    baskets_a_day=26.0,
    basket_span_s=1.5,
    fast_lag_1=0.9,
    fast_sd=0.62,
    slow_lag_1=0.995,
    slow_intensity_sd=0.55,
    open_weight=7.7,
    open_decay_s=500.0,
)


def _family(what: str, **changed: float) -> Flow:
    return structs.replace(_PLAIN, what=what, **changed)


FAMILIES: Final[dict[str, Flow]] = {
    "plain": _PLAIN,
    "makers": _family(
        "makers who quote anew when hit or when the middle moves",
        makers=10,
        maker_patience=2,
        replacing_share=0.3,
    ),
    "baskets": _family("baskets of 20 to 500 orders, half withdrawn as one", baskets_a_day=60.0),
    "regimes": _family(
        "accounts cancel more or less in stretches of 10 to 300 orders", regime_odds=0.7
    ),
    **{
        f"cox_{lag}": _family(
            f"everybody is busier or calmer, lag-1 correlation 0.{lag}",
            fast_lag_1=lag / 100,
            fast_sd=1.0,
        )
        for lag in (50, 90, 99)
    },
    "drift": _family(
        "everybody cancels a little more each day, and prices rise",
        drift_ticks=60.0,
        drift_odds=0.1,
    ),
    "shocks": _family(
        "prices jump, and all are busier and readier to cancel for a while", shocks_a_day=4.0
    ),
    "calibrated": structs.replace(CALIBRATED, accounts=_PLAIN.accounts),
}
# Not a null family: where nothing is found here, finding nothing elsewhere says nothing.
CONTROL: Final = structs.replace(
    _PLAIN,
    what="no null: one account in ten withdraws all within a second, from halfway on",
    turned_share=0.1,
    turned_day=5,
)
