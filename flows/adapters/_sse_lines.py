"""Shanghai records as lines of NDJSON."""

from collections.abc import Iterator
from typing import Any, Final

from numpy.typing import NDArray

SOURCE: Final = "sse"
VENUE: Final = "XSHG"
NEW: Final = 1
CANCEL: Final = 2
TRADE: Final = 3
BUY: Final = 1
SELL: Final = 2
PRICE_UNITS: Final = 10_000  # in one yuan
# Which liquidity the buyer and the seller of a trade were, by the trade's BSFlag.
_LIQUIDITY: Final = (("auction", "auction"), ("taker", "maker"), ("maker", "taker"))


def event_lines(
    text: bytes, rows: NDArray[Any], buy_accounts: list[str], sell_accounts: list[str]
) -> Iterator[str]:
    """Yield each event's line with its line feed: one for an order or cancel, two for a trade.

    Parameters
    ----------
    text
        The file, for the names of securities, which are plain ASCII.
    rows
        Shape (n,), dtype ``sse.ROW``.
    buy_accounts, sell_accounts
        Of length n: ``"account_id":"...",`` or nothing.
    """
    columns = ("time_ns", "security_start", "security_end", "day", "channel", "sequence")
    figures = ("record", "price", "quantity", "flag", "buy", "sell")
    lists = [rows[name].tolist() for name in (*columns, *figures)]
    for (
        (time_ns, start, end, day, channel, sequence, record, price, quantity, flag, buy, sell),
        buyer,
        seller,
    ) in zip(zip(*lists, strict=True), buy_accounts, sell_accounts, strict=True):
        root = f"{day}-{channel}-"
        security = text[start:end].decode()
        if record == TRADE:
            yuan = f"{price // PRICE_UNITS}.{price % PRICE_UNITS:04d}"
            for side, order, account, liquidity in (
                ("buy", buy, buyer, _LIQUIDITY[flag][0]),
                ("sell", sell, seller, _LIQUIDITY[flag][1]),
            ):
                yield (
                    f'{{"kind":"fill","source":"{SOURCE}",'
                    f'"event_id":"{root}{sequence}-{side}","event_time_ns":{time_ns},{account}'
                    f'"order_id":"{root}{order}","fill_id":"{root}{sequence}-{side}",'
                    f'"instrument":"{security}","venue":"{VENUE}","side":"{side}",'
                    f'"price":{yuan},"quantity":{quantity},"liquidity":"{liquidity}"}}\n'
                )
            continue
        side, order, account = ("buy", buy, buyer) if flag == BUY else ("sell", sell, seller)
        if record == CANCEL:
            yield (
                f'{{"kind":"order.cancel","source":"{SOURCE}",'
                f'"event_id":"{root}{sequence}-cancel","event_time_ns":{time_ns},{account}'
                f'"order_id":"{root}{order}","quantity":{quantity},"reason":"unknown"}}\n'
            )
            continue
        terms = (
            f'"price":{price // PRICE_UNITS}.{price % PRICE_UNITS:04d}'
            if price
            else '"order_type":"market"'
        )
        yield (
            f'{{"kind":"order.new","source":"{SOURCE}",'
            f'"event_id":"{root}{sequence}-new","event_time_ns":{time_ns},{account}'
            f'"order_id":"{root}{order}","instrument":"{security}","venue":"{VENUE}",'
            f'"side":"{side}","quantity":{quantity},{terms}}}\n'
        )
