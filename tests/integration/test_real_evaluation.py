"""Real files through the evaluation, on files of their formats that were made up."""

import gzip
import json
import random
import zipfile
from pathlib import Path

import pytest
from command import caller

from lab.evaluate import real

HEADER = "SecurityID,Date,Time,SourceType,Type,Price,Qty,BSFlag,BuyNo,SellNo,ApplSeqNum,ChannelNo"


def shanghai(folder: Path) -> None:
    """Write a morning of orders in one stock, a third of them withdrawn."""
    rng, rows = random.Random(1), []
    for number in range(1, 4_001):
        second = 3 * number
        time = f"{9 + (30 + second // 60) // 60:02}:{(30 + second // 60) % 60:02}:{second % 60:02}"
        order = f"{rng.randrange(95_000, 105_000, 100)},100,{1 + number % 2},{number},{number}"
        rows.append(f"600001.SH,2024.01.02,{time}.010,0,2,{order},{2 * number},1")
        if number % 3 == 0:
            rows.append(f"600001.SH,2024.01.02,{time}.900,0,10,{order},{2 * number + 1},1")
    with zipfile.ZipFile(folder / real.SHANGHAI, "w") as packed:
        packed.writestr("day.csv", "\n".join([HEADER, *rows]) + "\n")


def hyperliquid(folder: Path) -> None:
    """Write two accounts: one won 30 of 30 orders in two fills each, one 20 of 30."""
    lines = []
    for number in range(60):
        for account, won in (("a" * 4, True), ("b" * 4, number // 2 % 3 > 0)):
            fill = {
                "coin": "AAA", "px": "10.5", "sz": "2.0", "side": "A",
                "time": 1_750_000_000_000 + number, "startPosition": "4.0", "dir": "Close Long",
                "closedPnl": "1.5" if won else "-1.5", "hash": "0x0", "oid": number // 2,
                "crossed": True, "fee": "0.001", "tid": number, "feeToken": "USDC",
            }  # fmt: skip
            lines.append(json.dumps({"block_number": number, "events": [[account, fill]]}))
    with gzip.open(folder / real.HYPERLIQUID, "wt") as packed:
        packed.write("\n".join(lines) + "\n")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    shanghai(tmp_path)
    hyperliquid(tmp_path)
    return tmp_path


def test_planted_accounts_are_named_above_the_figure_and_nobody_else(samples: Path) -> None:
    found = real.measure(samples, 1)
    for row in found.plants:
        assert row.named == (row.planted if row.strength > 1 else 0)
    assert all(row.named == 0 < row.accounts for row in found.innocents)


def test_too_few_units_are_no_verdict(samples: Path) -> None:
    rows = real.accounts_of(samples / real.HYPERLIQUID)
    assert [(row.unit, row.units, row.wins) for row in rows] == [
        ("fill", 60, 60),
        ("order", 30, 30),
    ]
    assert [row.missing for row in rows] == [real.missing_wins([True] * n) for n in (60, 30)]
    assert real.missing_wins([True] * 200) == 0


def test_the_command_says_what_cannot_be_concluded(
    samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    said = call("evaluate", "--samples", samples)
    assert said.code == 0, said.err
    assert "cannot conclude;" in said.out
    (samples / real.SHANGHAI).unlink()
    said = call("evaluate", "--samples", samples)
    assert said.code != 0
    assert "there is no such sample" in said.err
