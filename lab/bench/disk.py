"""A disk that is full for one command: a limit on the size of files, which needs no rights."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_LIMITED: Final = (
    "import os, resource, sys\n"
    "size = int(sys.argv[1])\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def limited(command: Sequence[str], size: int) -> list[str]:
    """Return a command that can write no file beyond ``size`` bytes, nor can its children."""
    return [sys.executable, "-c", _LIMITED, str(size), *command]


def largest_file(folder: Path) -> int:
    """Return the size (bytes) of the largest file below a folder."""
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
