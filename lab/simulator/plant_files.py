"""Plants from files: one behaviour a TOML file, in orders, lots, ticks and seconds.

What a key may hold is told once, by the types below; a mistake names file, key, what was expected
and what was got.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NoReturn,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta, Struct

from lab.simulator.venues import VENUES

STRENGTHS: Final = (0.8, 0.99, 1.0, 1.2, 3.0)
INSTRUMENTS_MAX: Final = 16
TIMES_MAX: Final = 100_000

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]*$", max_length=60)]
Label = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$", max_length=30)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Lots = Annotated[int, Meta(ge=1, le=1_000_000)]
Ticks = Annotated[int, Meta(ge=-1_000, le=1_000)]
Place = Annotated[int, Meta(ge=0, lt=INSTRUMENTS_MAX)]
Times = Annotated[int, Meta(ge=1, le=TIMES_MAX)]
Share = Annotated[float, Meta(gt=0, le=1)]
Strength = Annotated[float, Meta(gt=0, le=100)]


class PlantFileError(ValueError):
    """A plant file cannot be used; the sentence names file and key, expected and got."""


class Wait(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="wait"):
    """Let ``s`` seconds pass, and up to ``jitter_s`` more at random."""

    s: Seconds
    jitter_s: Seconds = 0.0


class Enter(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="enter"
):
    """Enter an order.

    Attributes
    ----------
    order
        What later steps call it.
    ticks, ticks_more
        From the mid away from the other side, and so many more in each round of the innermost
        ``repeat``; below 0 towards it and beyond.
    beside
        An order whose price stands in the place of the mid.
    type
        ``ioc`` and ``fok`` orders lapse when they are cancelled.
    instrument
        Which of the plant's; without it each round of the outermost ``repeat`` takes the next.
    """

    order: Label
    side: Literal["buy", "sell"]
    lots: Lots
    ticks: Ticks = 2
    ticks_more: Ticks = 0
    beside: Label | None = None
    type: Literal["limit", "ioc", "fok"] = "limit"
    instrument: Place | None = None
    who: Literal["account", "partner"] = "account"


class Replace(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="replace"):
    """Move an order ``ticks`` towards the other side; it keeps its quantity."""

    order: Label
    ticks: Ticks = 1


class Cancel(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="cancel"):
    """Withdraw the newest open order of that name, or all of them."""

    order: Label
    all: bool = False


class Fill(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="fill"):
    """Trade a share of what is left, in whole lots, one at least; at the order's price.

    ``against`` is an order of the other account, which both then report.
    """

    order: Label
    share: Share = 1.0
    against: Label | None = None


class Repeat(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="repeat"
):
    """Do ``steps`` so many times."""

    times: Times
    steps: Annotated[tuple["Step", ...], Meta(min_length=1)]
    name: Label | None = None


Step: TypeAlias = Wait | Enter | Replace | Cancel | Fill | Repeat
_STEPS: Final[dict[str, type[Struct]]] = {
    "wait": Wait,
    "enter": Enter,
    "replace": Replace,
    "cancel": Cancel,
    "fill": Fill,
    "repeat": Repeat,
}


class Scale(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What strength means.

    Attributes
    ----------
    scales
        Name of a ``repeat``, whose times are multiplied, or of an order, whose lots are.
    expected_from
        The least strength at which ``rules`` alert.
    at
        Strengths planted, each once.
    """

    scales: Label
    expected_from: Strength = 1.0
    at: Annotated[tuple[Strength, ...], Meta(min_length=1, max_length=20)] = STRENGTHS


class PlantFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file.

    Attributes
    ----------
    instruments
        ``listed``: one that others trade too; ``quiet``: one that nobody else trades (stocks
        only); a number: so many listed ones.
    partner
        A second account: of the same owner, of the same control group, or a stranger.
    before_close_s
        Begin so long before continuous trading ends; else early in the day.
    rules
        Ids of all rules that alert on it; none for innocents.
    """

    name: Name
    about: str = ""
    venue: Literal["XSHG", "CCFX", "XSGE", "XPAR"]
    instruments: Literal["listed", "quiet"] | Annotated[int, Meta(ge=1, le=INSTRUMENTS_MAX)] = (
        "listed"
    )
    account: Literal["real", "simulated"] = "real"
    partner: Literal["none", "owner", "group", "stranger"] = "none"
    innocent: bool
    rules: tuple[str, ...] = ()
    before_close_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    strength: Scale | None = None
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class FilePlant:
    """A plant file as the plan takes it, with what ``Family`` and ``LookAlike`` tell too."""

    says: PlantFile
    place: str

    @property
    def name(self) -> str:
        """The behaviour."""
        return self.says.name

    @property
    def venue(self) -> int:
        """The venue's index."""
        return [venue.mic for venue in VENUES].index(self.says.venue)

    @property
    def simulated(self) -> bool:
        """Whether it trades on paper."""
        return self.says.account == "simulated"

    @property
    def alone(self) -> bool:
        """Whether nobody else trades its instrument."""
        return self.says.instruments == "quiet"

    @property
    def closing(self) -> bool:
        """Whether it needs the end of the day."""
        return self.says.before_close_s is not None

    @property
    def early(self) -> bool:
        """Whether it begins weeks before: files cannot say so."""
        return False

    @property
    def linked(self) -> str:
        """By what a second account belongs to the first."""
        return "" if self.says.partner == "none" else self.says.partner

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths that are planted."""
        return self.says.strength.at if self.says.strength else (1.0,)

    @property
    def expects_from(self) -> float:
        """The least strength at which its rules alert."""
        return self.says.strength.expected_from if self.says.strength else 0.0

    @property
    def base(self) -> int:
        """What strength multiplies, at strength 1."""
        found = list(self._scaled(self.says.steps))
        return found[0] if found else 1

    @property
    def instrument_count(self) -> int:
        """How many instruments it is about."""
        count = self.says.instruments
        return count if isinstance(count, int) else 1

    def value(self, strength: float) -> int:
        """Return the whole value nearest ``strength`` x base, below the base if it is < 1."""
        value = int(self.base * strength + 0.5)
        return min(value, self.base - 1) if strength < 1 else value

    def _scaled(self, steps: Sequence[Step]) -> Iterator[int]:
        wanted = self.says.strength.scales if self.says.strength else None
        for step in steps:
            if isinstance(step, Repeat):
                if step.name is not None and step.name == wanted:
                    yield step.times
                yield from self._scaled(step.steps)
            elif isinstance(step, Enter) and step.order == wanted:
                yield step.lots

    def check(self) -> None:
        """Refuse what the types cannot.

        Raises
        ------
        PlantFileError
            Keys do not go together.
        """
        says = self.says
        if says.innocent and says.rules:
            self.refuse("rules", "none, as the plant is innocent", list(says.rules))
        if not says.innocent and not says.rules:
            self.refuse("rules", "the rules that alert on it, as it is not innocent", [])
        if self.alone and says.venue in {"CCFX", "XSGE"}:
            self.refuse("instruments", "'listed' or a number: no future is quiet", "quiet")
        found = list(self._scaled(says.steps))
        if says.strength and len(found) != 1:
            expected = "the name of one repeat, or of an order entered in one place"
            self.refuse(
                "strength.scales", expected, f"{says.strength.scales!r}, found {len(found)} times"
            )

    def refuse(self, key: str, expected: str, got: object) -> NoReturn:
        """Say what is wrong with a key.

        Raises
        ------
        PlantFileError
            Always.
        """
        raise PlantFileError(f"{self.place}: {key}: expected {expected}; got {got}")


def load_plants(place: Path) -> tuple[FilePlant, ...]:
    """Return the plants of a file, or of all ``*.toml`` files of a folder, by file name.

    Raises
    ------
    PlantFileError
        There is none, one is wrong, or two have one name.
    """
    paths = [place] if place.is_file() else sorted(place.glob("*.toml"))
    if not paths:
        raise PlantFileError(f"{place}: expected a plant file, or a folder of *.toml; got none")
    plants = tuple(read_plant(path.read_bytes(), path.as_posix()) for path in paths)
    by_name: dict[str, str] = {}
    for plant in plants:
        if plant.name in by_name:
            expected = f"a name of its own, not that of {by_name[plant.name]}"
            plant.refuse("name", expected, repr(plant.name))
        by_name[plant.name] = plant.place
    return plants


def read_plant(text: bytes, place: str) -> FilePlant:
    """Read one plant file.

    Raises
    ------
    PlantFileError
        With the file's place, the key, what was expected and what was got.
    """
    try:
        raw = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlantFileError(f"{place}: expected TOML; got: {error}") from error
    try:
        says = msgspec.convert(raw, PlantFile)
    except msgspec.ValidationError as error:
        raise PlantFileError(f"{place}: {_explain(str(error), raw)}") from error
    plant = FilePlant(says, place)
    plant.check()
    return plant


def _explain(text: str, raw: Any) -> str:
    """Turn a validator's sentence into key, expected and got."""
    said, _, path = text.partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    at = _at(raw, key)
    unknown = re.search(r"unknown field `(.+)`", said)
    missing = re.search(r"required field `(.+)`", said)
    if unknown:
        allowed = ", ".join(_keys_of(key, at))
        return f"{_join(key, unknown[1])}: expected one of {allowed}; got this key"
    if missing:
        return f"{_join(key, missing[1])}: expected a value; got none"
    expected = said.partition(", got")[0].removeprefix("Expected ")
    if key.endswith("do") and said.startswith("Invalid value"):
        expected = ", ".join(_STEPS)
    elif said.startswith("Invalid enum value"):
        expected = _words_of(raw, key)
    return f"{key}: expected {expected}; got {at!r}"


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _keys_of(key: str, at: Any) -> list[str]:
    """Return the keys that a table at ``key`` may have."""
    kind = _kind_of(key, at)
    return [*(["do"] if kind in _STEPS.values() else []), *kind.__struct_fields__]


def _kind_of(key: str, at: Any) -> type[Struct]:
    if key == "strength":
        return Scale
    if isinstance(at, dict) and at.get("do") in _STEPS:
        return _STEPS[at["do"]]
    return PlantFile


def _words_of(raw: Any, key: str) -> str:
    """Return the words that may stand at a key."""
    table, _, name = key.rpartition(".")
    hint = get_type_hints(_kind_of(table, _at(raw, table)))[name]
    literals = [one for one in (hint, *get_args(hint)) if get_origin(one) is Literal]
    words = [repr(word) for one in literals for word in get_args(one)]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _at(raw: Any, key: str) -> Any:
    """Return what stands at a path like ``steps[1].lots``."""
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", key):
        raw = raw[int(index)] if index else raw.get(name)
    return raw
