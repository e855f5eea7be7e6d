"""``sim://``: the simulated market as a stream, at its own pace or as fast as it is read.

``sim://?seed=7&events=200000&minutes=60&speed=60`` is one simulated hour in which a minute takes a
second. The URL is the stream's identity: the same URL gives the same bytes.
"""

import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from flows import clock
from flows.heartbeats import Idle
from schemas.events import SECOND_NS

BLOCK_ROWS_MIN: Final = 64
BLOCK_ROWS_MAX: Final = 8_192
BLOCKS_A_SECOND: Final = 4
PAUSE_SECONDS_MAX: Final = 1.0  # between two venues' sessions lie hours in which nothing happens
_NEVER: Final = threading.Event()

# Lines that must be refused, one kind of damage each, as real feeds bring them.
DAMAGE: Final = (
    b'{"kind":"order.new","event_id":"damaged-1","event_time_ns":',
    b'{"kind":"order.shout","event_id":"damaged-2","event_time_ns":1,"source":"sim"}',
    b'{"kind":"order.new","event_id":"damaged-3","event_time_ns":NaN}',
    b"not json at all",
    b'{"kind":"order.fill"}',
    b"[1,2,3]",
)


class SimUrl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the URL asks for.

    Attributes
    ----------
    minutes
        Trading minutes of each venue; 0 for the whole day.
    speed
        Market seconds in one second; 0 for as fast as possible.
    plants
        Names of plants with commas between them; empty for everything that fits.
    damage
        How many lines to put in that must be refused.
    """

    seed: int = 7
    events: int = 200_000
    accounts: int = 10_000
    minutes: int = 0
    speed: float = 0.0
    plants: str = ""
    damage: int = 0


def parse_url(url: str) -> SimUrl:
    """Read a ``sim://`` URL.

    Raises
    ------
    ValueError
        For a name there is not, or a value that is no number.

    Examples
    --------
    >>> parse_url("sim://?seed=3&speed=60").speed
    60.0
    """
    asked = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    try:
        return msgspec.convert(asked, SimUrl, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(SimUrl.__struct_fields__)
        raise ValueError(f"{url}: {error}. A sim:// URL may have {known}.") from error


def blocks(url: str, first: int) -> Iterator[bytes | Idle]:
    """Yield the stream's blocks; from block ``first`` on, in the market's own pace."""
    # Imported here because exchange calendars take seconds, which `replay FILE` need not spend.
    from lab.simulator import Market, SimulatorConfig  # noqa: PLC0415 - see above

    asked = parse_url(url)
    market = Market(
        SimulatorConfig(
            events=asked.events,
            seed=asked.seed,
            accounts=asked.accounts,
            minutes=asked.minutes or None,
            plants=tuple(asked.plants.split(",")) if asked.plants else None,
        )
    )
    made = with_damage(market.blocks(_block_rows(asked)), asked.damage)
    yield from made if asked.speed <= 0 else paced(made, asked.speed, first)


def _block_rows(asked: SimUrl) -> int:
    """Return a block's length: about a quarter of a second where there is a pace."""
    if asked.speed <= 0:
        return BLOCK_ROWS_MAX
    seconds = 60 * (asked.minutes or 240) / asked.speed
    rows = int(asked.events / max(seconds * BLOCKS_A_SECOND, 1))
    return max(BLOCK_ROWS_MIN, min(rows, BLOCK_ROWS_MAX))


def with_damage(made: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Put one damaged line behind each block until ``count`` of them are in."""
    for number, block in enumerate(made):
        yield block if number >= count else block + DAMAGE[number % len(DAMAGE)] + b"\n"


def paced(made: Iterator[bytes], speed: float, first: int) -> Iterator[bytes | Idle]:
    """Hold each block back until its time has come.

    Long pauses are cut short, and said to be pauses: until the next block nothing is to come.
    """
    previous_ns: int | None = None
    due_ns = clock.monotonic_ns()
    for number, block in enumerate(made):
        time_ns = _first_time_ns(block)
        if number <= first or previous_ns is None:
            due_ns = clock.monotonic_ns()
        else:
            pause_ns = (time_ns - previous_ns) / speed
            due_ns += round(min(pause_ns, PAUSE_SECONDS_MAX * SECOND_NS))
            _NEVER.wait(max(0.0, (due_ns - clock.monotonic_ns()) / SECOND_NS))
            if pause_ns > PAUSE_SECONDS_MAX * SECOND_NS:
                yield Idle(time_ns - 1)
        previous_ns = time_ns
        yield block


class _Time(Struct):
    event_time_ns: int


def _first_time_ns(block: bytes) -> int:
    return msgspec.json.decode(block[: block.index(b"\n")], type=_Time).event_time_ns
