"""What accounts do with their orders, among all accounts of an instrument.

Orders are sent on only where a rule looks at them. Whether a cancel is the customer's own, and the
first of its order, is what the account's own stage made of it.
"""

from typing import Any

import numpy as np

from detectors.core.holder_kernels import holder_of, party_of
from detectors.core.instrument_state import BY_GROUP, BY_OWNER
from detectors.core.pair_kernels import meet_own
from detectors.core.registrations import registered
from schemas.jit import Int, kernel


@kernel
def _join_own(arrays: Any, row: Any, step: Any, notes: Any) -> None:
    """Fill in the party that the row's account belongs to, if it is linked with others.

    A control group counts as one client, so it goes before an owner.
    """
    index = holder_of(arrays, row["account_1"], row["account_2"])
    if index < 0:
        return
    holder = arrays.holders[index]
    shared_1 = holder["group_1"] if holder["group_1"] != 0 else holder["owner_1"]
    if shared_1 == 0:
        return
    step["account"] = index
    step["shared_by"] = BY_GROUP if holder["group_1"] != 0 else BY_OWNER
    step["contract"] = party_of(arrays, step, row, shared_1, notes)
    link = np.int64(holder["registrations"])
    if link > 0:
        step["registered"] = registered(
            arrays.registrations, link, row["instrument_1"], step["time_ns"]
        )


@kernel
def take_order(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> None:
    """Take a row about an order; ``notes`` as ``take_trades`` has them."""
    step["what"] = row["what"]
    if step["rules"] & settings.order_trader_rules != 0:
        meet_own(arrays, settings, row, i, step, notes)
    if step["rules"] & settings.order_party_rules != 0:
        _join_own(arrays, row, step, notes)
