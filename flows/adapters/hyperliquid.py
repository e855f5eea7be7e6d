"""Hyperliquid node fills: one JSON object a block, `events` = [[account, fill], ...].

Each side of a trade is a fill of its own; both bear the trade's `tid`. A closing fill is one whose
`dir` starts with Close, or whose `closedPnl` is not zero (spot sales and flips close too).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import numpy as np

from flows.adapters import AdaptedBlock, AdapterOptions, as_rejected, refuse_accounts, torn_at
from flows.edges.files import FileBlocks, RawBlock
from schemas import events
from schemas.columns import Rejected

VENUE: Final = "XHYP"  # our own: Hyperliquid has no ISO 10383 code
SOURCE: Final = "hyperliquid"
BLOCK_LINE_BYTES_MAX: Final = 64 * 1024 * 1024  # one line holds all fills of one venue block
DECIMALS_MAX: Final = 8
MILLISECOND_NS: Final = 1_000_000
_SIDES: Final[dict[str, events.Side]] = {"B": "buy", "A": "sell"}
_DAMAGE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Milliseconds: TypeAlias = Annotated[
    int, msgspec.Meta(ge=0, lt=events.TIME_MAX_NS // MILLISECOND_NS)
]


class _Block(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


class _Fill(msgspec.Struct, rename="camel", gc=False):
    coin: str
    px: str
    sz: str
    side: Literal["A", "B"]
    time: _Milliseconds
    dir: str
    closed_pnl: str
    oid: _Number
    crossed: bool
    tid: _Number
    fee: str | None = None


_decode_block: Final = msgspec.json.Decoder(_Block).decode
_decode_fill: Final = msgspec.json.Decoder(tuple[str, _Fill]).decode
_encode: Final = msgspec.json.Encoder().encode


class HyperliquidAdapter:
    """Fills with accounts, from a venue that never closes."""

    name = "hyperliquid"
    anonymous = False
    default_calendar = "24/7"

    def recognises(self, first_bytes: bytes) -> bool:
        """Say whether the first line is an object with blocks of events."""
        first_line = first_bytes.lstrip().split(b"\n", 1)[0]
        return first_line.startswith(b"{") and b'"events"' in first_line

    def adapt(self, path: Path, options: AdapterOptions) -> Iterator[AdaptedBlock]:
        """Yield one block of fills for each piece of the file.

        Raises
        ------
        FileProblem
            If the file cannot be read at all.
        ValueError
            If overlay accounts are asked for.
        """
        refuse_accounts(self.name, options)
        line = 0
        with FileBlocks(path, options.block_bytes, line_bytes_max=BLOCK_LINE_BYTES_MAX) as file:
            for block in file.blocks():
                piece = _Piece(line)
                piece.take(block)
                line = piece.line
                yield piece.adapted()


class _Piece:
    """What one piece of the file turns into."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.output = bytearray()
        self.origin_lines: list[int] = []
        self.rejected: list[Rejected] = []
        self.skipped: Counter[str] = Counter()

    def take(self, block: RawBlock) -> None:
        """Adapt every line of a block."""
        offset = block.byte_offset
        text = block.raw.tobytes()
        for record in text.removesuffix(b"\n").split(b"\n") if text else ():
            self._take_record(record, offset)
            offset += len(record) + 1
            self.line += 1
        self.rejected += torn_at(block, self.line)

    def adapted(self) -> AdaptedBlock:
        """Return all that was taken."""
        return AdaptedBlock(
            raw=np.frombuffer(self.output, np.uint8),
            origin_lines=np.array(self.origin_lines, np.int64),
            rejected=self.rejected,
            skipped_fields=dict(self.skipped),
        )

    def _take_record(self, record: bytes, offset: int) -> None:
        try:
            pairs = _decode_block(record).events
        except _DAMAGE as error:
            self._reject(record, offset, "a block with its list of events", str(error))
            return
        seen: Counter[str] = Counter()
        end = 0
        for pair in map(bytes, pairs):
            start = record.index(pair, end)
            end = start + len(pair)
            self._take_fill(pair, offset + start, seen)

    def _take_fill(self, pair: bytes, offset: int, seen: Counter[str]) -> None:
        try:
            account, fill = _decode_fill(pair)
        except _DAMAGE as error:
            self._reject(pair, offset, "[account, fill]", str(error))
            return
        identity = f"{fill.tid}-{fill.oid}-{fill.side}"
        occurrence = seen[identity]
        seen[identity] += 1
        event = _as_event(account, fill, f"{identity}-{occurrence}")
        if fill.fee is not None and event.fee is events.NO_MONEY:
            self.skipped["fee"] += 1
        self.output += _encode(event)
        self.output += b"\n"
        self.origin_lines.append(self.line)

    def _reject(self, raw: bytes, offset: int, expected: str, got: str) -> None:
        self.rejected.append(as_rejected(self.line, offset, raw, expected=expected, got=got))


def _as_event(account: str, fill: _Fill, event_id: str) -> events.Fill:
    """Return our event; figures keep the text they came as, and the scanner judges them."""
    return events.Fill(
        source=SOURCE,
        event_id=event_id,
        event_time_ns=fill.time * MILLISECOND_NS,
        account_id=account,
        order_id=str(fill.oid),
        fill_id=f"{fill.tid}-{fill.side}",
        instrument=fill.coin,
        venue=VENUE,
        side=_SIDES[fill.side],
        price=_money(fill.px),
        quantity=_money(fill.sz),
        realized_pnl=_money(fill.closed_pnl) if _is_closing(fill) else events.NO_MONEY,
        fee=_money(fill.fee) if _fits(fill.fee) else events.NO_MONEY,
        liquidity="taker" if fill.crossed else "maker",
    )


def _is_closing(fill: _Fill) -> bool:
    return fill.dir.startswith("Close") or fill.closed_pnl.strip("+-0.") != ""


def _fits(fee: str | None) -> bool:
    return fee is not None and len(fee.partition(".")[2]) <= DECIMALS_MAX


def _money(text: str | None) -> msgspec.Raw:
    return msgspec.Raw(_encode(text))


ADAPTER = HyperliquidAdapter()
