"""Every kind of event that may stand on the wire, as one struct each.

The structs are the single source: the scanner's tables (``schemas.wire``), the referee
(``schemas.referee``) and the JSON Schema (``schemas.json_schema``) are generated from them.
A field is required when it has no default; ``null`` means absent.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Raw, Struct

SECOND_NS: Final = 1_000_000_000
TIME_MIN_NS: Final = 946_684_800 * SECOND_NS  # 2000-01-01T00:00:00Z
TIME_MAX_NS: Final = 4_102_444_800 * SECOND_NS  # 2100-01-01T00:00:00Z, exclusive
E8: Final = 100_000_000
MONEY_MAX: Final = 92_233_720_368  # whole units; 10^8 of them still fit an int64
ID_LENGTH_MAX: Final = 128
TEXT_LENGTH_MAX: Final = 256
DURATION_MAX_NS: Final = 2**53

# No control characters. The tail stands for "end of text": `$` alone would allow a final newline.
_PRINTABLE: Final = r"^[^\u0000-\u001f\u007f-\u009f]+(?![\s\S])"
_MONEY_TEXT: Final = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![\s\S])"
_MONEY_SCHEMA: Final = {
    "anyOf": [
        {"type": "number", "minimum": -MONEY_MAX, "maximum": MONEY_MAX},
        {"type": "string", "pattern": _MONEY_TEXT},
    ],
    "description": "Exact decimal, at most 8 decimals; a number or a decimal string.",
}

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX, pattern=_PRINTABLE)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=_PRINTABLE)]
TimeNs: TypeAlias = Annotated[int, Meta(ge=TIME_MIN_NS, lt=TIME_MAX_NS)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=DURATION_MAX_NS)]
Money: TypeAlias = Annotated[Raw, Meta(extra={"wire": "money"}, extra_json_schema=_MONEY_SCHEMA)]
NO_MONEY: Final = Raw(b"")

Side: TypeAlias = Literal["buy", "sell"]
OrderType: TypeAlias = Literal["limit", "market", "stop", "stop_limit", "pegged"]
TimeInForce: TypeAlias = Literal["day", "ioc", "fok", "gtc", "gtd", "at_open", "at_close"]
SessionPhase: TypeAlias = Literal[
    "pre", "opening_auction", "continuous", "break", "closing_auction", "post", "halt"
]
Capacity: TypeAlias = Literal["agency", "principal"]
Liquidity: TypeAlias = Literal["maker", "taker", "auction"]
CancelReason: TypeAlias = Literal[
    "user",
    "immediate",
    "expired",
    "exchange",
    "self_trade_prevention",
    "kill_switch",
    "unknown",
]
RiskGrade: TypeAlias = Literal["C1", "C2", "C3", "C4", "C5"]


class Event(Struct, kw_only=True, gc=False, tag_field="kind", omit_defaults=True):
    """The envelope of every event."""

    source: Id
    event_id: Id
    event_time_ns: TimeNs
    tenant: Id | None = None


class AccountEvent(Event, kw_only=True, gc=False):
    """An event of one account; sources declared anonymous may leave the account out."""

    account_id: Id | None = None


class OrderNew(AccountEvent, kw_only=True, gc=False, tag="order.new"):
    """A new order."""

    order_id: Id
    instrument: Id
    venue: Id
    side: Side
    quantity: Money
    price: Money = NO_MONEY
    order_type: OrderType | None = None
    time_in_force: TimeInForce | None = None
    display_quantity: Money = NO_MONEY
    client_order_id: Id | None = None
    parent_order_id: Id | None = None
    session_phase: SessionPhase | None = None
    trader_id: Id | None = None
    algo_id: Id | None = None
    capacity: Capacity | None = None
    is_simulated: bool | None = None
    claims_market_maker: bool | None = None
    claims_hedge: bool | None = None
    terminal_hash: Id | None = None


class OrderReplace(AccountEvent, kw_only=True, gc=False, tag="order.replace"):
    """A confirmed change of an open order."""

    order_id: Id
    replaces_order_id: Id | None = None
    price: Money
    quantity: Money


class OrderCancel(AccountEvent, kw_only=True, gc=False, tag="order.cancel"):
    """A confirmed cancel; ``quantity`` is what was withdrawn (absent: all that was left)."""

    order_id: Id
    quantity: Money = NO_MONEY
    reason: CancelReason


class OrderReject(AccountEvent, kw_only=True, gc=False, tag="order.reject"):
    """An order the venue refused."""

    order_id: Id
    reason: Text | None = None


class OrderExpire(AccountEvent, kw_only=True, gc=False, tag="order.expire"):
    """An order that ended by its own terms."""

    order_id: Id
    reason: Text | None = None


class Fill(AccountEvent, kw_only=True, gc=False, tag="fill"):
    """A traded quantity. ``realized_pnl`` is present on closing fills only."""

    order_id: Id
    fill_id: Id
    instrument: Id
    venue: Id
    side: Side
    price: Money
    quantity: Money
    realized_pnl: Money = NO_MONEY
    fee: Money = NO_MONEY
    liquidity: Liquidity | None = None
    is_simulated: bool | None = None
    counter_account_id: Id | None = None


class FillBust(AccountEvent, kw_only=True, gc=False, tag="fill.bust"):
    """A fill taken back by the venue."""

    fill_id: Id
    price: Money = NO_MONEY
    quantity: Money = NO_MONEY


class FillCorrect(AccountEvent, kw_only=True, gc=False, tag="fill.correct"):
    """A fill whose figures the venue changed."""

    fill_id: Id
    price: Money = NO_MONEY
    quantity: Money = NO_MONEY


class PositionClosed(AccountEvent, kw_only=True, gc=False, tag="position.closed"):
    """One round trip, as the sender counts it."""

    instrument: Id
    opened_ns: TimeNs
    quantity: Money
    realized_pnl: Money
    max_loss: Money = NO_MONEY
    is_simulated: bool | None = None


class AccountEquity(AccountEvent, kw_only=True, gc=False, tag="account.equity"):
    """Mark-to-market equity."""

    equity: Money
    exposure: Money = NO_MONEY


class CashFlow(AccountEvent, kw_only=True, gc=False, tag="cash.flow"):
    """Money in or out that is no trading result."""

    amount: Money
    flow: Literal["deposit", "withdrawal", "dividend"]


class Holding(Struct, kw_only=True, gc=False):
    """One line of a position snapshot; a short position is negative."""

    instrument: Id
    quantity: Money


class PositionSnapshot(AccountEvent, kw_only=True, gc=False, tag="position.snapshot"):
    """What an account holds."""

    holdings: list[Holding]


class AppEvent(AccountEvent, kw_only=True, gc=False, tag="app.event"):
    """Something a person did in the app."""

    name: Id
    feature: Text | None = None
    screen: Text | None = None
    app_version: Text | None = None
    experiment: Text | None = None
    variant: Text | None = None
    device_hash: Id | None = None
    ip_prefix_hash: Id | None = None
    geo: Text | None = None
    duration_ms: Count | None = None
    notice_id: Id | None = None


class EntitlementChanged(AccountEvent, kw_only=True, gc=False, tag="entitlement.changed"):
    """Who may use what, until when."""

    subject: Id
    permission: Id
    action: Literal["grant", "revoke", "change"]
    valid_from_ns: TimeNs
    valid_until_ns: TimeNs | None = None
    operator: Id
    approver: Id | None = None
    reason: Text | None = None
    licence_no: Id | None = None


class MarketTrade(Event, kw_only=True, gc=False, tag="market.trade"):
    """A public trade."""

    instrument: Id
    venue: Id
    price: Money
    quantity: Money
    side: Side | None = None


class MarketQuote(Event, kw_only=True, gc=False, tag="market.quote"):
    """The best bid and ask."""

    instrument: Id
    venue: Id
    bid_price: Money = NO_MONEY
    bid_quantity: Money = NO_MONEY
    ask_price: Money = NO_MONEY
    ask_quantity: Money = NO_MONEY


class Level(Struct, kw_only=True, gc=False):
    """One price level of a book."""

    price: Money
    quantity: Money


class MarketDepth(Event, kw_only=True, gc=False, tag="market.depth"):
    """The book, best level first."""

    instrument: Id
    venue: Id
    bids: list[Level]
    asks: list[Level]


class MarketIndicative(Event, kw_only=True, gc=False, tag="market.indicative"):
    """The auction's indicative price and quantity."""

    instrument: Id
    venue: Id
    price: Money
    quantity: Money


class MarketIndex(Event, kw_only=True, gc=False, tag="market.index"):
    """An index level."""

    instrument: Id
    venue: Id
    price: Money


class MarketTotals(Event, kw_only=True, gc=False, tag="market.totals"):
    """Total resting quantity on each side of one instrument."""

    instrument: Id
    venue: Id
    bid_quantity: Money
    ask_quantity: Money


class NewsAnnouncement(Event, kw_only=True, gc=False, tag="news.announcement"):
    """An announcement about an instrument."""

    instrument: Id
    published_ns: TimeNs
    announcement_class: Text


class Registration(Struct, kw_only=True, gc=False):
    """An exemption on file: which kind, for which instrument (absent: all), on which days."""

    registration: Literal["market_maker", "hedge"]
    instrument: Id | None = None
    valid_from_ns: TimeNs
    valid_until_ns: TimeNs | None = None


class RefAccount(AccountEvent, kw_only=True, gc=False, tag="ref.account"):
    """What is on file about an account. Replaces what was on file before."""

    beneficial_owner: Id | None = None
    control_group: Id | None = None
    segments: list[Text] = []
    tier: Text | None = None
    risk_grade: RiskGrade | None = None
    risk_grade_valid_until_ns: TimeNs | None = None
    licence_no: Id | None = None
    licence_valid_until_ns: TimeNs | None = None
    registrations: list[Registration] = []


class RefInstrument(Event, kw_only=True, gc=False, tag="ref.instrument"):
    """What is on file about an instrument."""

    instrument: Id
    venue: Id
    tick_size: Money = NO_MONEY
    lot: Money = NO_MONEY
    board: Text | None = None
    special_treatment: bool | None = None
    previous_close: Money = NO_MONEY
    limit_up: Money = NO_MONEY
    limit_down: Money = NO_MONEY
    order_quantity_max: Money = NO_MONEY
    calendar: Text | None = None
    zone: Text | None = None


class ControlTotals(Event, kw_only=True, gc=False, tag="control.totals"):
    """What the sender says it sent for one trading day, for reconciliation."""

    trading_day: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}(?![\s\S])")]
    counts: dict[str, Count]
    notional: dict[str, Money] = {}


class Heartbeat(Event, kw_only=True, gc=False, tag="heartbeat"):
    """Nothing has happened on this lane up to ``event_time_ns``."""


AnyEvent: TypeAlias = (
    OrderNew
    | OrderReplace
    | OrderCancel
    | OrderReject
    | OrderExpire
    | Fill
    | FillBust
    | FillCorrect
    | PositionClosed
    | AccountEquity
    | CashFlow
    | PositionSnapshot
    | AppEvent
    | EntitlementChanged
    | MarketTrade
    | MarketQuote
    | MarketDepth
    | MarketIndicative
    | MarketIndex
    | MarketTotals
    | NewsAnnouncement
    | RefAccount
    | RefInstrument
    | ControlTotals
    | Heartbeat
)

EVENT_TYPES: Final[tuple[type[Event], ...]] = AnyEvent.__args__
KINDS: Final = tuple(str(t.__struct_config__.tag) for t in EVENT_TYPES)


def requires_account(event_type: type[Event]) -> bool:
    """Say whether the kind must name its account (unless the source is declared anonymous)."""
    return issubclass(event_type, AccountEvent)
