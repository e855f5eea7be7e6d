"""Ramping: who trades much of a few minutes' volume, while the price goes far with it.

Windows of `window_ns` follow each other in an instrument: each begins with a trade that is in no
earlier one, and is judged when it is over, at the latest with its trading day. An account fires
that made at least `trades_min` trades in it and whose net purchases (or sales) were at least
`share_min` of the instrument's volume there, if the price of the window's last trade is at least
`move_min` above (or below) that of the day's last trade before the window. Who buys as much as he
sells never fires. A move that begins in one window and ends in the next counts for each as far as
it went there.

Prices and volume are those of the fills of all accounts among the events, a trade that both sides
report counted once: market trades and quotes are not looked at. An exempt account's trades count
for the volume only.
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
    window_ns
        Length of a window, event time.
    trades_min
        Trades of the account in the window.
    share_min
        Its net purchases or sales over the volume of the window, above a third: two accounts at
        most have so much.
    move_min
        How far the price must have gone, over the price before.
    """

    window_ns: Annotated[int, Meta(gt=0)] = 180 * SECOND_NS
    trades_min: Annotated[int, Meta(ge=1)] = 5
    share_min: Annotated[float, Meta(ge=0.34, le=1)] = 0.4
    move_min: Annotated[float, Meta(gt=0)] = 0.04


class Ramping(WindowDetector):
    """Fires on who trades much within minutes in which the price goes far in his direction."""

    name: ClassVar[str] = "ramping"
    params_type: ClassVar[type[Struct]] = Params

    def place(self) -> str:
        """See ``WindowDetector.place``."""
        return f"Within {seconds(self.params.window_ns)}"

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {
            "default": {
                "window_ns": 10 * SECOND_NS,
                "trades_min": 2,
                "share_min": 0.34,
                "move_min": 0.01,
            }
        }
