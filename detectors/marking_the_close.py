"""Marking the close: who trades much of the last minutes' volume, and the price goes with it.

The window of `window_ns` ends `close_before_day_end_ns` before the trading day's end: calendars say
when a day ends, not when a venue closes, so that is a figure of the rule, one for each venue's
hours. It is judged when it is over. An account fires that made at least `trades_min` trades in it
and whose net purchases (or sales) were at least `share_min` of the instrument's volume there, if
the price of the window's last trade is at least `move_min` above (or below) that of the day's last
trade before the window. Who buys as much as he sells never fires, nor does anybody on a day without
a trade before the window. On a day that closes early nothing is found.

Prices and volume are those of the fills of all accounts among the events, a trade that both sides
report counted once: market trades, quotes and the venue's own closing price are not looked at. An
exempt account's trades count for the volume only.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from detectors.core.moved_windows import WindowDetector
from detectors.core.wording import seconds
from schemas.events import SECOND_NS


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    close_before_day_end_ns
        How long before the trading day's end the window ends: the venue's close.
    window_ns
        Length of the window, event time.
    trades_min
        Trades of the account in the window.
    share_min
        Its net purchases or sales over the volume of the window, above a third: two accounts at
        most have so much.
    move_min
        How far the price must have gone, over the price before.
    """

    close_before_day_end_ns: Annotated[int, Meta(gt=0)] = 9 * 3_600 * SECOND_NS
    window_ns: Annotated[int, Meta(gt=0)] = 600 * SECOND_NS
    trades_min: Annotated[int, Meta(ge=1)] = 5
    share_min: Annotated[float, Meta(ge=0.34, le=1)] = 0.4
    move_min: Annotated[float, Meta(gt=0)] = 0.005


class MarkingTheClose(WindowDetector):
    """Fires on who trades much of a day's last minutes in the direction in which the price goes."""

    name: ClassVar[str] = "marking_the_close"
    params_type: ClassVar[type[Struct]] = Params
    unavailable: ClassVar[tuple[str, ...]] = (
        *WindowDetector.unavailable,
        "the venue's own closing price, and when it closed that day",
    )

    def place(self) -> str:
        """See ``WindowDetector.place``."""
        p = self.params
        hours = p.close_before_day_end_ns / (3_600 * SECOND_NS)
        return (
            f"In the {seconds(p.window_ns)} up to {hours:.2f} hours before its trading day's end, "
            "taken for the close,"
        )

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        close_ns = (86_400 - 1_260) * SECOND_NS
        return {
            "default": {
                "close_before_day_end_ns": close_ns,
                "window_ns": 20 * SECOND_NS,
                "trades_min": 2,
                "share_min": 0.34,
                "move_min": 0.01,
            }
        }
