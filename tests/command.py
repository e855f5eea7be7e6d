"""Call the command line as people do, inside this process."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from console import cli


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


def caller(monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs ``tapewatch`` with these words."""

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["tapewatch", *map(str, words)])
        capture.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capture.readouterr()
        code = end.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    return call
