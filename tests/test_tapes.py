"""Every tape raises the alerts it names and no others; every detector has a tape."""

from pathlib import Path

import pytest
from tapes import FOLDER, difference, read

from detectors.core.registry import detector_names

TAPES = sorted(FOLDER.glob("*.tape"))


@pytest.mark.parametrize("path", TAPES, ids=[path.stem for path in TAPES])
def test_tape(path: Path) -> None:
    assert difference(read(path)) == []


def test_every_detector_has_a_tape() -> None:
    assert set(detector_names()) <= {path.stem for path in TAPES}


def test_a_tape_that_expects_too_much_or_too_little_fails(tmp_path: Path) -> None:
    tape = tmp_path / "x.tape"
    tape.write_text("@rule cancel_count cancels_min=2\n0 new A 1..2\n1 cancel A 1..2\n")
    assert len(difference(read(tape))) == 1
    tape.write_text("@rule cancel_count cancels_min=2\n0 new A 1\n1 !alert A cancel_count\n")
    assert len(difference(read(tape))) == 1
