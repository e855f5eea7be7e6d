"""``tapewatch version``."""

import platform
import sys
from importlib.metadata import version as installed

from console.commands import single


def version() -> None:
    """Show the version.

    Examples
    --------
    $ tapewatch version
    """
    sys.stdout.write(f"tapewatch {installed('tapewatch')} (Python {platform.python_version()})\n")


app = single(version)
