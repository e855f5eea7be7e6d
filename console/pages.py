"""Write the documentation pages that come from code: ``python -m console.pages``.

A test for each page says when it is out of date.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from console.reference import cli_page
from detectors.core.reference import detectors_page
from flows.observe.catalog import metrics_page
from lab.coverage import coverage_page
from schemas.settings import settings_page

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/coverage.md": coverage_page,
    "docs/reference/cli.md": cli_page,
    "docs/reference/detectors.md": detectors_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/settings.md": settings_page,
}


def write_pages(root: Path) -> list[str]:
    """Write every page under the project's root; return the names of those that changed."""
    changed = []
    for name, page in PAGES.items():
        path, text = root / name, page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    for changed_name in write_pages(Path.cwd()):
        sys.stderr.write(f"wrote {changed_name}\n")
