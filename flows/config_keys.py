"""The keys that can be set, and what each takes: settings, detector parameters, pack figures."""

import json
import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec

from schemas import settings
from schemas.settings import Setting

SETTING_NAMES: Final = frozenset(settings.BY_NAME)
_LISTS: Final = frozenset({list, tuple, set, frozenset})
_WORDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "nothing",
}


class BadValueError(ValueError):
    """The value is not of the key's type, or outside its bounds."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes
    ----------
    default
        Makes the default value.
    only_if_changed
        Enters the configuration's hash only where it differs from the default.
    origin
        What to say where nothing sets it.
    """

    name: str
    type: Any
    default: Callable[[], Any]
    minimum: int | float | None
    maximum: int | float | None
    unit: str
    changes_results: bool
    only_if_changed: bool
    origin: str = "default"

    @property
    def environment_name(self) -> str:
        """Return the environment variable that sets it."""
        return settings.environment_name(self.name)

    def parse(self, got: Any, *, from_text: bool) -> Any:
        """Return ``got`` as the key's type.

        Parameters
        ----------
        from_text
            The value is a text from a flag or variable, and may have to be read as a number.

        Raises
        ------
        BadValueError
            If it does not convert, is not finite, or lies outside the bounds.
        """
        try:
            raw = _from_text(got, self.type) if from_text else got
            value = msgspec.convert(raw, self.type, strict=not from_text)
        except (msgspec.ValidationError, json.JSONDecodeError) as error:
            raise BadValueError(str(error)) from error
        self._check_bounds(value)
        return value

    def expected(self) -> str:
        """Return what may stand here, as part of a sentence."""
        text = describe(self.type)
        if self.minimum is not None and self.maximum is not None:
            text += f" from {self.minimum} to {self.maximum}"
        power = ", a power of two" if self.name == "shards" else ""
        return f"{text}{power} ({self.unit})" if self.unit else text

    def _check_bounds(self, value: Any) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise BadValueError("not finite")
        if self.minimum is not None and value < self.minimum:
            raise BadValueError("too small")
        if self.maximum is not None and value > self.maximum:
            raise BadValueError("too large")
        if self.name == "shards" and value & (value - 1):
            raise BadValueError("not a power of two")


def collect(
    detectors: Mapping[str, type[msgspec.Struct]], packs: Mapping[str, type[msgspec.Struct]]
) -> dict[str, Key]:
    """Return every key by its dotted name, settings first."""
    keys = {setting.name: _of_setting(setting) for setting in settings.SETTINGS}
    for family, structs in (("detectors", detectors), ("packs", packs)):
        for name in sorted(structs):
            for key in _of_struct(f"{family}.{name}", structs[name]):
                keys[key.name] = key
    return keys


def describe(value_type: Any) -> str:
    """Return what a type takes, in words.

    Examples
    --------
    >>> describe(Literal["fill", "order"])
    'fill or order'
    >>> describe(list[str])
    'a list, each a text'
    """
    origin, arguments = get_origin(value_type), get_args(value_type)
    text = _WORDS.get(value_type, str(value_type))
    if origin is Literal:
        text = " or ".join(str(choice) for choice in arguments)
    elif origin in _LISTS:
        text = f"a list, each {describe(arguments[0])}"
    elif origin is dict:
        text = f"a table of names, each with {describe(arguments[1])}"
    elif origin is types.UnionType:
        text = " or ".join(describe(argument) for argument in arguments)
    elif origin is Annotated:
        text = describe(arguments[0]) + _describe_meta(value_type.__metadata__)
    return text


def _describe_meta(metas: tuple[Any, ...]) -> str:
    bounds = [
        (sign, bound)
        for meta in metas
        if isinstance(meta, msgspec.Meta)
        for sign, bound in (("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt))
    ]
    return "".join(f" {sign} {bound}" for sign, bound in bounds if bound is not None)


def _from_text(text: str, value_type: Any) -> Any:
    """Read lists and tables; leave scalars to the lax conversion."""
    if get_origin(value_type) is dict:
        return json.loads(text)
    if get_origin(value_type) not in _LISTS:
        return text
    if text.startswith("["):
        return json.loads(text)
    return [item.strip() for item in text.split(",") if item.strip()]


def _of_setting(setting: Setting) -> Key:
    return Key(
        setting.name,
        setting.value_type,
        partial(_copy, setting.default),
        setting.minimum,
        setting.maximum,
        setting.unit,
        setting.changes_results,
        only_if_changed=False,
    )


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def _of_struct(prefix: str, struct: type[msgspec.Struct]) -> Iterator[Key]:
    for field in msgspec.structs.fields(struct):
        default: Callable[[], Any] = partial(_copy, field.default)
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory
        yield Key(
            f"{prefix}.{field.encode_name}",
            field.type,
            default,
            None,
            None,
            "",
            changes_results=True,
            only_if_changed=True,
            origin="rule pack, else default",
        )
