"""Where things made once are kept between runs; everything there can be made again."""

import os
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

_KERNEL_ROOMS: Final = ("schemas", "detectors", "flows", "lab")


def cache_folder() -> Path | None:
    """Return the user's cache folder for us; None where there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given:
        return Path(given) / "tapewatch"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    caches = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return caches / "tapewatch"


def keep_kernels() -> None:
    """Keep compiled kernels in a folder named by the source of all of them.

    Numba notices that a kernel's own file changed, but not that one it calls did, and would go on
    with the old machine code. NUMBA_CACHE_DIR, where it is set, decides instead of us.
    """
    folder = cache_folder()
    if "NUMBA_CACHE_DIR" in os.environ or folder is None:
        return
    kernels = folder / f"kernels-{_kernel_digest()}"
    try:
        kernels.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # numba then looks for a place of its own
    from numba import config  # noqa: PLC0415 - other caches are wanted without numba

    config.CACHE_DIR = str(kernels)  # type: ignore[attr-defined]  # made at run time


def _kernel_digest() -> str:
    """Hash whatever the machine code depends on that numba itself does not look at."""
    hasher = sha256(version("numpy").encode())
    root = Path(__file__).parent.parent
    for room in _KERNEL_ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            source = file.read_bytes()
            if b"numba" in source or b"schemas.jit" in source or file.name == "columns.py":
                hasher.update(source)
    return hasher.hexdigest()[:16]
