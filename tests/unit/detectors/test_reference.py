from pathlib import Path

from detectors.core.packs import load_pack, pack_names
from detectors.core.reference import detectors_page
from detectors.core.registry import detector_names

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "detectors.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == detectors_page(), "run: python -m console.pages"


def test_every_detector_and_every_figure_stands_on_it() -> None:
    page = detectors_page()
    for name in detector_names():
        assert f"## {name}\n" in page
    for pack in map(load_pack, pack_names()):
        for rule in pack.rule:
            assert f"#### {rule.id}\n" in page
            for figure in rule.figures.values():
                assert figure.article in page
                assert figure.source in page
