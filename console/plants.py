"""What ``--plants`` was given: names of plants that there are, and places of plant files."""

from collections.abc import Sequence
from pathlib import Path

from detectors.core.packs import load_rules, pack_names
from lab.simulator import FilePlant, load_plants


def sort_out(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[FilePlant, ...]]:
    """Return names and loaded files; several stand in one text, with commas between them.

    What holds a slash or ends in ``.toml`` is a place, and so is every folder there is.

    Raises
    ------
    ValueError
        A place holds no plant, a file is wrong, or it expects a rule that there is not.
    """
    given = [text.strip() for one in texts for text in one.split(",")]
    places = [text for text in given if _is_place(text)]
    files = [plant for text in places for plant in load_plants(Path(text))]
    check_rules(files)
    return tuple(text for text in given if not _is_place(text)), tuple(files)


def check_rules(plants: Sequence[FilePlant]) -> None:
    """Refuse rules that there are not.

    Raises
    ------
    ValueError
        A file expects such a one.
    """
    if not plants:
        return
    known = [rule.id for rule in load_rules(pack_names())]
    for plant in plants:
        for rule in plant.says.rules:
            if rule not in known:
                plant.refuse("rules", f"some of {', '.join(known)}", repr(rule))


def _is_place(text: str) -> bool:
    return "/" in text or text.endswith(".toml") or Path(text).is_dir()
