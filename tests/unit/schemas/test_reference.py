"""What the documentation says of events is generated and current."""

import runpy
from pathlib import Path

import pytest

from schemas import json_schema, reasons

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PAGES = {
    "reasons.md": (reasons.as_markdown, "schemas.reasons"),
    "events.schema.json": (json_schema.as_text, "schemas.json_schema"),
}


@pytest.mark.parametrize("page", PAGES)
def test_generated_pages_are_current(page: str) -> None:
    make, module = PAGES[page]
    text = (REFERENCE / page).read_text(encoding="utf-8")
    assert text == make(), f"run: python -m {module} > docs/reference/{page}"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
@pytest.mark.parametrize("page", PAGES)
def test_modules_print_their_page(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, module = PAGES[page]
    runpy.run_module(module, run_name="__main__")
    assert capsys.readouterr().out == make()
