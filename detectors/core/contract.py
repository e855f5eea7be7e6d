"""The contract between the account stage and every detector.

The account stage turns each event row into a **step**: what the row means for its account, with
the order's own instrument, side and age filled in. A detector is a kernel over steps and a state
array with one fixed-size row a subject; what it finds it writes as **finding records**, numbers
only, and explains them in words afterwards.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from schemas.alerts import POSITIONS_MAX, Severity

if TYPE_CHECKING:
    from detectors.core.memory import FindingBuffer, SubjectState

# What a step is (bits of ``what``).
NEW: Final = 1  # an order was entered
REPLACE: Final = 2
CANCEL: Final = 4  # the customer's own cancel
FIRST_CANCEL: Final = 8  # the first of its order, which was entered on the same trading day
FILL: Final = 16
CLOSING: Final = 32  # a fill that closes something: it carries a realized profit
TRIP: Final = 64  # a round trip ended with this row
UNKNOWN_ORDER: Final = 128  # cancel or fill of an order never seen
SIMULATED: Final = 256
TRIPS_RESTART: Final = 512  # the sender counts round trips from here on: forget those we built
KILL_SWITCH: Final = 1024  # a cancel by kill functionality
REASON_UNKNOWN: Final = 2048  # a cancel counted as the customer's because nobody says whose it is
SELF_TRADE: Final = 4096  # both sides of a trade are one party; told once a trade
OTHER_SIDE: Final = 8192  # the second report of a trade that was told with both its sides
RESTS: Final = 16384  # more or less rests of an order that was entered on the same trading day
MATCHED: Final = 32768  # both sides of a trade are known, and no one party; told once a trade
ACTION: Final = NEW | REPLACE | CANCEL
# Bits of ``registered`` and ``claimed``.
MARKET_MAKER: Final = 1
HEDGE: Final = 2
REGISTRATIONS: Final[dict[str, int]] = {"market_maker": MARKET_MAKER, "hedge": HEDGE}

STEP: Final = np.dtype(
    [
        ("rules", "<u8"),  # bit per rule whose venues and instruments the row falls under
        ("what", "<u4"),
        ("registered", "u1"),  # exemptions on file for this account, instrument and day
        ("claimed", "u1"),  # exemptions the sender has claimed for this account so far
        ("order_units", "i1"),  # 1: the first closing fill of its order
        ("order_wins", "i1"),  # change of "this order is in profit so far": -1, 0 or 1
        ("account", "<i4"),  # row of the account table, -1: the row has no effect
        ("contract", "<i4"),  # row of the account x instrument table, -1: none
        ("day", "<i4"),  # trading day, days since 1970-01-01
        ("open_change", "i1"),  # of how many orders entered on ``day`` are open: -2 to 1
        ("side", "u1"),  # of the order or fill; 0 where unknown
        ("padding", "u1", (2,)),
        ("time_ns", "<i8"),
        ("day_end_ns", "<i8"),
        ("position", "<i8"),  # lane << LANE_SHIFT | line number
        ("quantity_e8", "<i8"),  # entered, replaced to, withdrawn or filled
        ("age_ns", "<i8"),  # since the order was entered; -1 where unknown
        ("pnl_e8", "<i8"),  # of the closing fill, or of the round trip when TRIP is set
        ("trip_pnl_e8", "<i8"),
        ("rest_change_e8", "<i8"),  # of how much rests of orders entered on ``day``
        ("price_e8", "<i8"),  # what the row says
    ]
)
LANE_SHIFT: Final = 48
RECENT: Final = 8  # positions that an account's or contract's state remembers for evidence
PARTIES: Final = 6  # accounts a finding names beside the one it is about

OPENING: Final = 1
GROWTH: Final = 2
PROVISIONAL: Final = 3
CONFIRMED: Final = 4
WITHDRAWN: Final = 5
RECEDED: Final = 6
HEADROOM: Final = 7
NAMED: Final = 8  # no finding: its row says whom one is about that time alone may bring about
PHASES: Final = (
    "",
    "opening",
    "growth",
    "provisional",
    "confirmed",
    "withdrawn",
    "receded",
    "headroom",
    "named",
)

FINDING: Final = np.dtype(
    [
        ("phase", "u1"),
        ("registered", "u1"),
        ("claimed", "u1"),
        ("recent_count", "u1"),
        ("row", "<i4"),  # of the batch; -1 for a finding that time brought about
        ("at", "<i4"),  # the row during which it was written; -1 between batches
        ("subject", "<i4"),  # row of the detector's state
        ("ordinal", "<i4"),  # 0 for the first finding of a subject on a day
        ("day", "<i4"),
        ("time_ns", "<i8"),
        ("onset_ns", "<i8"),
        ("day_end_ns", "<i8"),
        ("unknown_reasons", "<i8"),  # cancels of the day so far whose reason nobody gave
        ("numbers", "<i8", (10,)),  # the detector's own evidence, exact integers
        ("recent", "<i8", (POSITIONS_MAX,)),  # positions of the rows that led here
        # Of findings on a party: its accounts, as rows of the instrument stage's table plus one,
        # and how much each traded with itself or the others, in 10^-8 units.
        ("accounts", "<i4", (PARTIES,)),
        ("quantities", "<i8", (PARTIES,)),
    ]
)

Steps = NDArray[np.void]
Findings = NDArray[np.void]
# A party is one account, an owner's accounts or a control group's, in one instrument; a pair, two
# accounts that are no one party and traded with each other in one instrument; a trader, one account
# in one instrument, beside all others there; a peer, an account beside others of its tier.
Subject = Literal["account", "contract", "party", "pair", "trader", "peer"]
ALIGNED: Final[frozenset[Subject]] = frozenset({"party", "pair", "trader", "peer"})
NOT_SHARED: Final = np.dtype([("none", "u1")])


class RuleSpec(Struct, frozen=True, kw_only=True):
    """One rule of a pack: which detector, where it applies, whose figures.

    ``instruments`` are shell-style patterns; empty means every instrument of the venues, and empty
    ``venues`` means everywhere. ``exempt`` names the registrations the rule honours.
    """

    id: str
    version: int
    detector: str
    pack: str
    title: str
    article: str
    severity: Severity
    parameters: dict[str, Any]
    parameters_hash: str
    title_zh: str = ""
    venues: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    instruments_except: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    may_notify: bool = False

    @property
    def exempt_bits(self) -> int:
        """The registrations the rule honours, as bits of ``STEP.registered``."""
        return sum(REGISTRATIONS[name] for name in self.exempt)


class Explanation(NamedTuple):
    """A finding in words and numbers people can check."""

    why: str
    evidence: dict[str, Any]
    counterfactual: dict[str, Any]


class Nearness(NamedTuple):
    """How near a subject is to a figure."""

    value: float
    figure: float


Claim = Literal[
    "claimed", "few peers", "few buckets", "clustered", "uneven", "no lifetime", "policy"
]


class Fixed(Struct, frozen=True, kw_only=True):
    """What a test fixed for one group of peers at a close.

    Attributes
    ----------
    group
        Its number.
    claim
        Whether a bound is claimed; else why not.
    accounts, with_past, above, tested
        Accounts of the group; those with enough of a past; of these, those whose null would be
        above what a test can use; and those tested until the next close.
    bucket_orders
        Orders of a bucket; 0 where no bound is claimed, and where windows are looked at.
    window_s
        Seconds of a window; 0 where no bound is claimed, and where orders are.
    autocorrelation_ppm
        How much a bucket or window says of the next one, at that size or else at the largest with
        enough of them; in millionths. None: too few.
    peer_ppm
        What one account in twenty exceeded, of orders or in actions a window, in millionths; None:
        never fixed.
    lifetime_ms
        Orders that were cancelled sooner count, in ms; 0 where all cancelled orders do, None where
        that could not be fixed.
    budget_ppt
        What one account is granted in 24 hours, in millionths of a millionth of an alarm.
    """

    group: int
    claim: Claim
    accounts: int
    with_past: int = 0
    above: int = 0
    tested: int = 0
    bucket_orders: int = 0
    window_s: int = 0
    autocorrelation_ppm: int | None = None
    peer_ppm: int | None = None
    lifetime_ms: int | None = 0
    budget_ppt: int = 0


class FixedGroup(Struct, frozen=True, kw_only=True):
    """What one test fixed for one group at a close.

    Attributes
    ----------
    time_ns
        The close.
    rule
        The test's.
    tier, is_simulated
        The group: of ``ref.account``, empty for accounts with nothing on file.
    """

    time_ns: int
    rule: str
    tier: str
    is_simulated: bool
    fixed: Fixed


class Selection(NamedTuple):
    """Which steps a rule looks at, as its kernel takes it; see ``detectors.core.memory.admit``.

    Attributes
    ----------
    by_account
        1: a subject is an account; 0: it is an account x instrument, or a party x instrument. Of
        pairs, traders and peers, kernels ask for the row themselves.
    rule_bit
        The rule's bit of ``STEP.rules``.
    exempt
        Registrations that the rule honours.
    wanted
        Bits of ``STEP.what``, one of which a step must have.
    """

    by_account: int
    rule_bit: np.uint64
    exempt: int
    wanted: int


class Detector(ABC):
    """One rule's detector: parameters, state and kernel. Found by file name, never registered.

    A detector sees steps and its own state only: no clock, no input or output. The same steps in
    any batching give the same findings.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    state_version: ClassVar[int] = (
        1  # raise it where what is remembered comes to mean another thing
    )
    subject: ClassVar[Subject]
    wanted: ClassVar[int]
    params_type: ClassVar[type[Struct]]
    uses_pool: ClassVar[bool] = False
    is_large: ClassVar[bool] = False  # its rows are: rules of it belong in packs loaded on request
    recent: ClassVar[int] = RECENT  # how many rows a finding names
    kinds: ClassVar[frozenset[str]] = frozenset()  # of rows sent on to it, where it is aligned
    looks_at_windows: ClassVar[bool] = False  # where its subject is a peer; else it is sent units

    def __init__(self, rule: RuleSpec, params: Struct, rule_bit: int) -> None:
        self.rule = rule
        self.params: Any = params
        self.selection = Selection(
            int(self.subject == "account"),
            np.uint64(1 << rule_bit),
            rule.exempt_bits,
            self.wanted,
        )

    @property
    def is_aligned(self) -> bool:
        """Whether it sees several accounts' rows or tallies, in order of time."""
        return self.subject in ALIGNED

    @property
    @abstractmethod
    def state_dtype(self) -> np.dtype[np.void]:
        """The memory of one subject, beginning with ``detectors.core.emit.COMMON_STATE``.

        An aligned one that remembers accounts has their rows of the table of holders, plus one, in
        a field called ``accounts``; 0 stands for none.
        """

    @property
    def shared_dtype(self) -> np.dtype[np.void]:
        """What subjects in one instrument, or peers of one group, have in common: a row for each.

        For aligned ones only. Rows are zeros at first; ``Memory.shared`` holds them, by
        ``TRADE.instrument`` or by the number of the group.
        """
        return NOT_SHARED

    @abstractmethod
    def update(self, steps: Steps, state: "SubjectState", out: "FindingBuffer") -> None:
        """Take steps in order, change state rows in place, write findings (at most two a step).

        ``steps`` are of dtype ``STEP``; of ``instrument_state.TRADE`` where subjects are parties,
        and of ``peer_stage.UNIT_STEP`` where they are peers.
        """

    def close(self, state: "SubjectState", watermark_ns: int, out: "FindingBuffer") -> None:  # noqa: B027 - most rules have no day to judge
        """Judge the days that ended by ``watermark_ns``; give back what no later step can need.

        Called once the watermark has reached ``state.due_ns``, which kernels keep at the earliest
        time at which there may be something to do. May leave subjects unjudged when ``out`` is
        full; it is then called again.
        """

    def fix(self, state: "SubjectState", closed_ns: int) -> list[Fixed]:
        """Fix what counts from a close until the next; return it by group, in order.

        Called at each close, where subjects are peers.
        """
        del state, closed_ns
        return []

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """Say which state rows may be forgotten: no step at the horizon or later can tell.

        Whoever does not say so remembers a subject until its account is forgotten.
        """
        del horizon_ns
        return np.zeros(len(rows), np.bool_)

    @property
    def is_cumulative(self) -> bool:
        """Whether what it remembers is never spent, and so ends only with the account."""
        return type(self).spent is Detector.spent

    @abstractmethod
    def explain(self, finding: np.void) -> Explanation:
        """Say in words and numbers why the finding was made, and what would have prevented it."""

    @abstractmethod
    def nearness(self, finding: np.void) -> Nearness:
        """Return observed value and figure of a headroom finding."""

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """Return parameter overrides that the conformance suite tries, by name."""
        return {"default": {}}
