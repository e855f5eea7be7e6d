"""Input of the benches: simulated days, as they come or with what real feeds do to them."""

import random
from pathlib import Path
from typing import Final

from lab.simulator import Market, SimulatorConfig

_DAMAGE_EVERY: Final = 400
_REPEAT_EVERY: Final = 300
_DELAY_EVERY: Final = 500
_DELAY_LINES: Final = 4_000
_DAMAGE: Final = (
    lambda line: line[: len(line) // 2],
    lambda line: line.replace(b'"kind":"', b'"kind":"no.', 1),
    lambda line: line.replace(b'"event_time_ns":', b'"event_time_ns":"x",', 1),
    lambda _line: b"not JSON at all",
    lambda _line: b"",
    lambda _line: b"\xff\xfe",
)


def market_lines(events: int, seed: int, accounts: int) -> list[bytes]:
    """Return a simulated day, a line an event, without line feeds."""
    market = Market(SimulatorConfig(events=events, seed=seed, accounts=accounts))
    return b"".join(market.blocks()).split(b"\n")[:-1]


def write_market(path: Path, events: int, seed: int, accounts: int) -> None:
    """Write a simulated day without holding it."""
    market = Market(SimulatorConfig(events=events, seed=seed, accounts=accounts))
    with path.open("wb") as file:
        for block in market.blocks(16_384):
            file.write(block)


def roughen(lines: list[bytes], seed: int) -> list[bytes]:
    """Return the lines with damaged ones among them, some repeated soon, some arriving late.

    The damaged lines are extra; a repeated line is a duplicate; a late one comes thousands of lines
    after its time.
    """
    rng = random.Random(seed)  # noqa: S311 - a seeded plan, no secret
    rough: list[tuple[int, bytes]] = []
    for place, line in enumerate(lines):
        late = rng.randrange(_DELAY_EVERY) == 0
        rough.append((place + _DELAY_LINES if late else place, line))
        if rng.randrange(_REPEAT_EVERY) == 0:
            rough.append((place + rng.randrange(1, 40), line))
        if rng.randrange(_DAMAGE_EVERY) == 0:
            rough.append((place, rng.choice(_DAMAGE)(line)))
    rough.sort(key=lambda entry: entry[0])
    return [line for _, line in rough]


def write_lines(path: Path, lines: list[bytes]) -> None:
    """Write lines, each with a line feed."""
    path.write_bytes(b"\n".join(lines) + b"\n")
