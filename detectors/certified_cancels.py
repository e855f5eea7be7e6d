"""Certified cancel ratio: a share of orders cancelled that own past and peers do not explain.

Each bucket of orders is a bet against the null that, whatever happened before, at most the null's
share of it is cancelled: the largest of a floor, what one account in twenty of its peers exceeds,
and its own mean and a margin, fixed at the latest close. An alert comes when the bets have made of
the account's budget more than luck does; of all accounts within their null no more are named a day
than the budget says, on average. Where buckets say too much of those that follow, no bound is
claimed and nobody is named; `tapewatch peers tests` says so.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from detectors.core.share_test import ShareParams, ShareTest


class Params(ShareParams, frozen=True, kw_only=True):
    """Parameters; see ``detectors.core.share_test.ShareParams`` for those not named here.

    Attributes
    ----------
    null_rate
        The least share of orders cancelled that anybody's null allows, in (0, 1).
    """

    null_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.5


class CertifiedCancels(ShareTest):
    """Fires when bets that at most a null's share of orders is cancelled have failed."""

    name: ClassVar[str] = "certified_cancels"
    params_type: ClassVar[type[Struct]] = Params

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: no past is asked for, and budgets are large."""
        return {
            "default": {
                "null_rate": 0.2,
                "baseline_units_min": 0,
                "alarms_a_day": 500_000.0,
                "tests": 1,
                "accounts_planned": 1,
            }
        }
