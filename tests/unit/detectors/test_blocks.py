"""What is remembered cannot change its form unnoticed."""

from hashlib import sha256
from typing import Any

from detectors.core.account_state import ACCOUNT, INSTRUMENT, ORDER, AccountState
from detectors.core.blocks import LAYOUT, block_of, fingerprint
from detectors.core.contract_table import CONTRACT, OPEN_TRIP
from detectors.core.features import FEATURE, Features
from detectors.core.instrument_state import (
    HOLDER,
    PAIR,
    PARTY,
    SIDE,
    TRADED,
    TRADER,
    InstrumentState,
)
from detectors.core.memory import NODE
from detectors.core.peer_stage import PEER_ACCOUNT, PeerConfig, PeerStage
from detectors.core.peers import PEER, Peers
from detectors.core.registrations import REGISTRATION
from detectors.core.registry import build_detectors
from detectors.core.sent_rows import SENT
from detectors.core.tallier import Tallier
from detectors.core.tallies import TALLY, UNIT_AT_HAND
from detectors.core.windows import ACTOR, WINDOW_AT_HAND

OF_ACCOUNTS = (ACCOUNT, ORDER, CONTRACT, OPEN_TRIP, INSTRUMENT, REGISTRATION, FEATURE, PEER, NODE)
OF_PEERS = (UNIT_AT_HAND, TALLY, PEER_ACCOUNT, ACTOR, WINDOW_AT_HAND)
TABLES = (*OF_ACCOUNTS, HOLDER, TRADED, SIDE, PARTY, TRADER, PAIR, SENT, *OF_PEERS)


def test_a_change_of_the_tables_raises_the_layout() -> None:
    """Fails after such a change: raise LAYOUT, then put the new pair here."""
    assert (LAYOUT, fingerprint(*TABLES)) == (8, "1526e66c24ab9819")


def test_a_change_of_how_snapshots_hold_them_raises_the_layout() -> None:
    """Fails after such a change: raise LAYOUT, then put the new pair here."""
    peers = PeerStage([], PeerConfig(("t",)))
    parts = (
        AccountState(), InstrumentState(), Peers(), Features(0, "default"),
        Tallier("t", keeps_windows=True), peers,
    )  # fmt: skip
    whole = [part.dump() for part in parts]
    found = sha256(repr(shape_of(whole)).encode()).hexdigest()[:16]
    assert (LAYOUT, found) == (8, "006865de90984deb")


def shape_of(tree: Any) -> Any:
    """Return names, lengths and kinds, whatever the values."""
    if isinstance(tree, dict):
        return {str(key): shape_of(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [shape_of(value) for value in tree]
    return type(tree).__name__


def test_every_rule_s_memory_has_a_key_of_its_own() -> None:
    blocks = [block_of(detector) for detector in build_detectors()]
    assert len({block.key for block in blocks}) == len(blocks) > 5
    assert blocks == [block_of(detector) for detector in build_detectors()]


def test_a_figure_of_a_rule_is_part_of_its_memory_s_key() -> None:
    (one,) = [d for d in build_detectors() if d.name == "cancel_count"][:1]
    overrides = {"cancel_count": {"cancels_min": 7}}
    (other,) = [d for d in build_detectors(overrides=overrides) if d.rule.id == one.rule.id]
    assert block_of(one).key != block_of(other).key
