"""Detectors and packs of other packages are found; what is wrong with them is said."""

from pathlib import Path

import pytest

from console import exits
from detectors.core.packs import load_pack, load_rules, pack_names
from detectors.core.plugins import PluginError
from detectors.core.registry import build_detector, detector_names, detector_type, own_names

MODULE = '''"""Counts as cancel_count does."""

from detectors.cancel_count import CancelCount


class Another(CancelCount):
    """The same under another name."""

    name = "another"
'''
PACK = """
id = "theirs"
title = "Theirs"

[[rule]]
id = "theirs.cancels"
version = 1
detector = "another"
title = "Cancels"
title_zh = "撤单"
severity = "low"

[rule.figures.cancels_min]
value = 7
source = "somebody"
article = "1"
effective = "2026-01-01"
as_of = "2026-11"
confidence = "tunable"
"""


class Site:
    """A folder on the path with packages in it, as an installer leaves them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    def install(
        self,
        package: str,
        detectors: str = "",
        packs: str = "",
        *,
        module: str = MODULE,
        pack: str = PACK,
    ) -> None:
        place = self._folder / package
        (place / package).mkdir(parents=True)
        (place / package / "__init__.py").touch()
        (place / package / "another.py").write_text(module)
        (place / package / "theirs.toml").write_text(pack, encoding="utf-8")
        known = place / f"{package}-1.0.dist-info"
        known.mkdir()
        (known / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        groups = {"tapewatch.detectors": detectors, "tapewatch.packs": packs}
        points = "".join(f"[{group}]\n{line}\n" for group, line in groups.items() if line)
        (known / "entry_points.txt").write_text(points)
        self._monkeypatch.syspath_prepend(place)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_a_detector_and_its_pack_are_found(site: Site) -> None:
    site.install("found", "another = found.another", "theirs = found")
    assert detector_names() == sorted([*own_names(), "another"])
    assert pack_names()[-1] == "theirs"
    rule = load_rules(["theirs"], {"another": {"cancels_min": 9}})[0]
    assert build_detector(rule, 0).params.cancels_min == 9
    assert load_pack("theirs").rule[0].figures["cancels_min"].value == 7


def test_what_is_gone_is_no_longer_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as only_here:
        Site(site._folder, only_here).install("gone", "another = gone.another")
        assert "another" in detector_names()
    assert "another" not in detector_names()


@pytest.mark.parametrize(
    ("detectors", "packs", "name"),
    [("win_rate = mine.another", "", "win_rate"), ("", "source = mine", "source")],
)
def test_a_name_of_ours_is_refused(site: Site, detectors: str, packs: str, name: str) -> None:
    site.install("mine", detectors, packs)
    with pytest.raises(PluginError, match=f"brings {name} for .* which Tapewatch has itself"):
        detector_names() if detectors else pack_names()


def test_two_packages_with_one_name_are_both_named(site: Site) -> None:
    site.install("first", "another = first.another")
    site.install("second", "another = second.another")
    with pytest.raises(PluginError, match=r"Package \w+ and Package \w+ both bring another"):
        detector_names()


@pytest.mark.parametrize(
    ("package", "module", "said"),
    [
        ("none", "x = 1\n", "must define one detector, named another; it defines none"),
        ("misnamed", MODULE.replace('"another"', '"other"'), "named another; it defines other"),
        ("raising", "raise RuntimeError('no licence')\n", "no licence"),
    ],
)
def test_a_module_that_does_not_define_it_is_named(
    site: Site, package: str, module: str, said: str
) -> None:
    site.install(package, f"another = {package}.another", module=module)
    with pytest.raises(PluginError, match=said):
        detector_type("another")


@pytest.mark.parametrize(
    ("package", "pack", "said"),
    [
        ("torn_pack", "id = \n", "cannot be read: Invalid value"),
        ("short_pack", 'id = "theirs"\n', "missing required field"),
        ("renamed_pack", PACK.replace('"theirs"', '"thine"'), "calls itself thine"),
    ],
)
def test_a_pack_that_cannot_be_read_is_named(
    site: Site, package: str, pack: str, said: str
) -> None:
    site.install(package, packs=f"theirs = {package}", pack=pack)
    with pytest.raises(PluginError, match=said):
        load_pack("theirs")


def test_a_pack_of_a_package_that_is_not_there_is_named(site: Site) -> None:
    site.install("empty", packs="theirs = no_such_package")
    with pytest.raises(PluginError, match="No module named 'no_such_package'"):
        load_pack("theirs")


def test_two_packs_with_one_rule_are_both_named(site: Site) -> None:
    pack = PACK.replace("theirs.cancels", "source.win_rate").replace("another", "cancel_count")
    site.install("twice", packs="theirs = twice", pack=pack)
    with pytest.raises(PluginError, match="source and theirs both have a rule source"):
        load_rules(pack_names())


def test_one_that_cannot_be_loaded_says_why(site: Site) -> None:
    site.install("torn", "another = torn.another", module="import no_such_thing\n")
    with pytest.raises(PluginError, match="No module named 'no_such_thing'") as caught:
        detector_type("another")
    known = exits.expected(caught.value)
    assert known is not None
    assert known[0] == exits.CONFIG
    assert known[1].endswith("Mend that package, or uninstall it.")
