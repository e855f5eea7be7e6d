from pathlib import Path

import pytest

from console import pages

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", pages.PAGES)
def test_every_page_from_code_is_current(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == pages.PAGES[name](), "run `make docs`"


def test_pages_are_written_once(tmp_path: Path) -> None:
    assert pages.write_pages(tmp_path) == list(pages.PAGES)
    assert pages.write_pages(tmp_path) == []
