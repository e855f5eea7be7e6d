"""Compile kernels ahead, on two processors, where a machine has none yet.

Scanner and account stage compile apart: one here, the other in a process of its own, which leaves
its machine code in the cache. Without this the first run would compile one after the other.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numba import config

from console.file_check import EveryDay
from detectors.core.registry import build_detectors
from detectors.core.stage_config import StageConfig
from lab.stages import Stages
from schemas.columns import ROW, EventColumns, HashKey
from schemas.referee import RowKey, Verdict, judge_row
from schemas.scan import Scanner

SAMPLE: Final = (
    b'{"kind":"order.new","source":"s","event_id":"1","event_time_ns":1772587800000000000,"account_id":"a",'
    b'"order_id":"o","instrument":"i","venue":"XSHG","side":"buy","quantity":1,"price":"1.5"}\n'
)
_FILL: Final = (
    b'{"kind":"fill","source":"s","event_id":"2","event_time_ns":1772587800000000000,"account_id":"a",'
    b'"order_id":"o","fill_id":"f","instrument":"i","venue":"XSGE","side":"buy","quantity":1,"price":1}\n'
)
_LAST_COMPILED: Final = "*count_self_trades*.nbi"
_FAR_NS: Final = 2**62


def are_compiled() -> bool:
    """Say whether the cache holds machine code; where there is no cache folder, say yes."""
    folder = getattr(config, "CACHE_DIR", "")
    return not folder or any(Path(folder).rglob(_LAST_COMPILED))


def compile_ahead() -> None:
    """Compile whatever a run needs, unless it was done before."""
    if are_compiled():
        return
    command = [sys.executable, "-m", "console.kernels"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as other:  # noqa: S603 - our own
        Scanner(HashKey(), tenant="t").scan(SAMPLE)
        other.wait()  # whatever became of it, the run compiles what is missing


def compile_stage() -> None:
    """Compile both stages and every rule: rows come from the referee, not the scanner."""
    rows = np.zeros(2, ROW)
    for index, line in enumerate((SAMPLE, _FILL)):
        judged = judge_row(line.rstrip(), RowKey(HashKey()), anonymous=False)
        assert not isinstance(judged, Verdict)
        rows[index] = judged[0]
        rows["line_length"][index] = len(line) - 1
    rows["line_start"][1] = len(SAMPLE)
    columns = EventColumns(rows, np.frombuffer(bytearray(SAMPLE + _FILL), np.uint8))
    stage = Stages(
        build_detectors(),
        StageConfig(calendars=EveryDay(), key=HashKey(), lane_names=("sample",)),
    )
    stage.take(columns, np.array([-_FAR_NS, -_FAR_NS, 0], np.int64))
    stage.close(_FAR_NS)


if __name__ == "__main__":
    compile_stage()
