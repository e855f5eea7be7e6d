"""The day as text: one template a kind, its slots gathered from the columns."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.simulator import tape
from lab.simulator.population import Population, Scatter
from lab.simulator.tape import Table
from lab.simulator.typeset import Typesetter
from lab.simulator.venues import VENUES, Instrument, Ints
from schemas.columns import (
    CANCEL_REASON_CODES,
    LIQUIDITY_CODES,
    ORDER_TYPE_CODES,
    SESSION_PHASE_CODES,
    SIDE_CODES,
    TIME_IN_FORCE_CODES,
)

STRANGER_EVERY: Final = 16  # ordinary fills, of which one names its counterparty
STRANGER_STEP: Final = 12  # from an account to that one: never of its owner or group
FEE_DIVISOR: Final = 4_000  # 0.025 % of the notional, 0.01 at least
REJECT_REASONS: Final = (
    "price outside limits", "insufficient funds", "market phase does not allow it", "lot size",
)  # fmt: skip
APP_TEXTS: Final = (
    '"name":"open","app_version":"5.2.1"',
    '"name":"login","app_version":"5.2.1"',
    '"name":"feature.used","feature":"watchlist","screen":"home"',
    '"name":"feature.used","feature":"grid_strategy","screen":"strategy"',
    '"name":"feature.used","feature":"level_2","screen":"quote"',
    '"name":"feature.used","feature":"condition_order","screen":"trade"',
    '"name":"order.button","screen":"trade","app_version":"5.2.1"',
    '"name":"order.button","screen":"quote","experiment":"one_tap","variant":"b"',
)
# Optional fields of a new order by its extra code; the last three name the account's token.
EXTRAS: Final = (
    "", ',"capacity":"agency"', ',"capacity":"principal"',
    ',"trader_id":"tr-', ',"algo_id":"al-', ',"terminal_hash":"',
)  # fmt: skip
EXTRA_NAMED_FROM: Final = 3
_CLAIMS: Final = ("", ',"claims_market_maker":true', ',"claims_hedge":true')
_PAPER: Final = ("", ',"is_simulated":true')

_HEAD: Final = (
    '{"kind":"KIND",%t,"event_id":"%x","event_time_ns":%d,"account_id":"%t","order_id":"%x"'
)
_FILL: Final = (
    ',"fill_id":"%x",%t,"side":"%t","price":%c,"quantity":%d,"fee":%c,"liquidity":"%t"%t%t'
)


def _line(kind: str, rest: str) -> str:
    return _HEAD.replace("KIND", kind) + rest + "}\n"


# NEW to RECORD stand at their kind's place; the variants of three of them follow.
_TEMPLATES: Final = (
    _line("order.new", ',%t,%t,"quantity":%d%t%t%t%t%t,"price":%c'),
    _line("order.replace", ',"price":%c,"quantity":%d'),
    _line("fill", _FILL),
    _line("order.cancel", ',"reason":"%t"'),
    _line("order.reject", ',"reason":"%t"'),
    _line("order.expire", ""),
    (
        '{"kind":"app.event","source":"sim-app","event_id":"%x","event_time_ns":%d,'
        '"account_id":"%t",%t,"device_hash":"%t"}\n'
    ),
    '{%t,"event_id":"%x","event_time_ns":%d,%t}\n',
    _line("order.new", ',%t,%t,"quantity":%d%t%t%t%t%t'),
    _line("order.cancel", ',"reason":"%t","quantity":%d'),
    _line("fill", _FILL + ',"realized_pnl":%c'),
)
_NEW_MARKET, _CANCEL_SHOWN, _FILL_CLOSING = range(8, 11)

Indexes = NDArray[np.intp]
Columns = list[Ints]


class Lines:
    """Write rows of a finished day.

    Parameters
    ----------
    day
        Orders and events; the events in time order.
    gains
        Price cents earned and whether the event is a closing fill, both shape (events,).
    records
        The two texts of each ``RECORD`` event, before and behind event id and time.
    people
        Who and what the numbers in the columns stand for.
    rng
        Source of ids.
    """

    def __init__(
        self,
        day: tuple[Table, Table],
        gains: tuple[Ints, NDArray[np.bool_]],
        records: Sequence[tuple[str, str]],
        people: tuple[Population, tuple[Instrument, ...]],
        rng: np.random.Generator,
    ) -> None:
        self._orders, self._events = day
        self._gain_cents, self._closes = gains
        population, instruments = people
        self._simulated = population.simulated.astype(np.int64)
        self._multiplier = np.array([one.multiplier for one in instruments], np.int64)
        self._event_id, self._order_id, self._fill_id = Scatter(rng), Scatter(rng), Scatter(rng)
        self._typesetter = Typesetter(_TEMPLATES)
        self._add_texts(population, instruments)
        self._records = self._typesetter.add([text for pair in records for text in pair])

    def _add_texts(self, population: Population, instruments: Sequence[Instrument]) -> None:
        add = self._typesetter.add
        venues = [VENUES[one.venue] for one in instruments]
        places = zip(instruments, venues, strict=True)
        self._account, self._token = add(population.ids), add(population.tokens)
        self._source = add([f'"source":"{venue.source}"' for venue in venues])
        self._place = add([f'"instrument":"{one.name}","venue":"{v.mic}"' for one, v in places])
        self._terms = add(_terms())
        self._extra, self._quote = add(EXTRAS), add(['"'])
        self._paper, self._claim = add(_PAPER), add(_CLAIMS)
        self._side, self._liquidity = add(SIDE_CODES), add(LIQUIDITY_CODES)
        self._reason, self._reject = add(CANCEL_REASON_CODES), add(REJECT_REASONS)
        self._app = add(APP_TEXTS)
        self._counter = add([f',"counter_account_id":"{one}"' for one in population.ids])

    def write(self, first: int, last: int) -> bytes:
        """Return rows ``first`` to ``last`` (exclusive) as NDJSON."""
        kinds = self._events["kind"][first:last]
        template = kinds.astype(np.int64)
        args = np.zeros((last - first, self._typesetter.slots), np.int64)
        gatherers: tuple[Callable[[Indexes], tuple[int | Ints, Columns]], ...] = (
            self._news, self._replaces, self._fills, self._cancels,
            self._rejects, self._expires, self._apps, self._refs,
        )  # fmt: skip
        for kind, gather in enumerate(gatherers):
            chosen = np.flatnonzero(kinds == kind)
            if len(chosen):
                template[chosen], columns = gather(chosen + first)
                args[chosen, : len(columns)] = np.stack(columns, axis=1)
        return self._typesetter.fill(template, args)

    def _head(self, rows: Indexes) -> tuple[Table, Table, Columns]:
        """Return events, their orders, and the slots every order event begins with."""
        events = self._events[rows]
        orders = self._orders[events["subject"]]
        return events, orders, [
            self._source + orders["instrument"].astype(np.int64),
            self._event_id(rows),
            events["time_ns"],
            self._account + orders["account"].astype(np.int64),
            self._order_id(events["subject"]),
        ]  # fmt: skip

    def _news(self, rows: Indexes) -> tuple[Ints, Columns]:
        events, orders, head = self._head(rows)
        named = orders["extra"] >= EXTRA_NAMED_FROM
        account = orders["account"].astype(np.int64)
        codes = (orders["side"], orders["order_type"], orders["time_in_force"], events["code"])
        columns = [
            *head,
            self._place + orders["instrument"].astype(np.int64),
            self._terms + np.ravel_multi_index(codes, _TERM_SHAPE),
            events["quantity"].astype(np.int64),
            self._extra + orders["extra"].astype(np.int64),
            np.where(named, self._token + account, 0),
            np.where(named, self._quote, 0),
            self._paper + self._simulated[account],
            self._claim + orders["claim"].astype(np.int64),
            events["price"].astype(np.int64),
        ]
        return np.where(orders["order_type"] == tape.MARKET, _NEW_MARKET, tape.NEW), columns

    def _replaces(self, rows: Indexes) -> tuple[int, Columns]:
        events, _, head = self._head(rows)
        return tape.REPLACE, [*head, events["price"], events["quantity"]]

    def _cancels(self, rows: Indexes) -> tuple[Ints, Columns]:
        events, _, head = self._head(rows)
        shown, reason = np.divmod(events["code"].astype(np.int64), tape.QUANTITY_SHOWN)
        columns = [*head, self._reason + reason, events["quantity"]]
        return np.where(shown, _CANCEL_SHOWN, tape.CANCEL), columns

    def _rejects(self, rows: Indexes) -> tuple[int, Columns]:
        events, _, head = self._head(rows)
        return tape.REJECT, [*head, self._reject + events["code"].astype(np.int64)]

    def _expires(self, rows: Indexes) -> tuple[int, Columns]:
        return tape.EXPIRE, self._head(rows)[2]

    def _fills(self, rows: Indexes) -> tuple[Ints, Columns]:
        events, orders, head = self._head(rows)
        multiplier = self._multiplier[orders["instrument"]]
        notional = events["quantity"] * multiplier * events["price"]
        columns = [
            *head,
            self._fill_id(np.where(events["partner"], self._trade_number(events), rows)),
            self._place + orders["instrument"].astype(np.int64),
            self._side + orders["side"].astype(np.int64),
            events["price"],
            events["quantity"],
            np.maximum(notional // FEE_DIVISOR, 1),
            self._liquidity + events["code"].astype(np.int64),
            self._paper + self._simulated[orders["account"]],
            self._counterparty(rows, events, orders),
            self._gain_cents[rows] * multiplier,
        ]
        return np.where(self._closes[rows], _FILL_CLOSING, tape.FILL), columns

    def _trade_number(self, events: Table) -> Ints:
        """Return a number that both sides of a trade share, and that is no row's."""
        later = np.maximum(events["subject"], events["partner"] - 1)
        number: Ints = later.astype(np.int64) + len(self._events)
        return number

    def _counterparty(self, rows: Indexes, events: Table, orders: Table) -> Ints:
        """Return the text that names the other side; sides that share a trade name it by turns."""
        account = orders["account"].astype(np.int64)
        partner = self._orders["account"][np.maximum(events["partner"] - 1, 0)]
        is_named = (self._trade_number(events) % 2 == 0) & (events["partner"] > 0)
        count = len(self._simulated)
        stranger = (account + STRANGER_STEP) % count
        is_told = (
            (events["partner"] == 0) & (rows % STRANGER_EVERY == 0) & (count > 4 * STRANGER_STEP)
        )
        text = np.where(is_told, self._counter + stranger, 0)
        return np.where(is_named, self._counter + partner, text)

    def _apps(self, rows: Indexes) -> tuple[int, Columns]:
        events = self._events[rows]
        account = events["subject"].astype(np.int64)
        code = events["code"].astype(np.int64)
        return tape.APP, [
            self._event_id(rows),
            events["time_ns"],
            self._account + account,
            self._app + code,
            self._token + account,
        ]

    def _refs(self, rows: Indexes) -> tuple[int, Columns]:
        events = self._events[rows]
        head = self._records + 2 * events["subject"].astype(np.int64)
        return tape.RECORD, [head, self._event_id(rows), events["time_ns"], head + 1]


_TERM_FIELDS: Final = {
    "side": SIDE_CODES,
    "order_type": ORDER_TYPE_CODES,
    "time_in_force": TIME_IN_FORCE_CODES,
    "session_phase": SESSION_PHASE_CODES,
}
_TERM_SHAPE: Final = tuple(len(codes) for codes in _TERM_FIELDS.values())


def _terms() -> list[str]:
    """Return the text of every combination of side, type, time in force and phase."""
    texts = []
    for place in np.ndindex(_TERM_SHAPE):
        words = zip(_TERM_FIELDS.items(), place, strict=True)
        texts.append(",".join(f'"{name}":"{codes[code]}"' for (name, codes), code in words))
    return texts
