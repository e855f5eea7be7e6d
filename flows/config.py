"""Read settings once, at the start: flag over environment over file over default.

Every value knows where it came from, and every mistake is a ``ConfigError`` that names the place,
the key, what was got, what was expected, and the nearest key there is.
"""

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from detectors.core.packs import chosen_packs, pack_names
from flows import config_keys
from flows.config_keys import Key
from schemas import settings
from schemas.settings import ENVIRONMENT_PREFIX

FILE_NAME: Final = "tapewatch.toml"
ParamsTypes = Mapping[str, type[msgspec.Struct]]


class ConfigError(ValueError):
    """A mistake in the configuration, told so that it can be mended.

    Attributes
    ----------
    where
        File, environment variable or flag.
    key
        Dotted key.
    got, expected
        What stood there, and what may stand there.
    nearest
        The valid key most like ``key``, or None.
    """

    def __init__(
        self, where: str, key: str, got: str, expected: str, nearest: str | None = None
    ) -> None:
        self.where, self.key, self.got, self.expected = where, key, got, expected
        self.nearest = nearest
        hint = f"; the nearest setting is {nearest}" if nearest else ""
        place = f"{where}: {key}" if key else where
        super().__init__(f"{place}: expected {expected}, got {got}{hint}.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One value with the place it came from."""

    value: Any
    origin: str


class Config:
    """All settings and detector parameters of one run; never changed after ``load``."""

    def __init__(self, keys: Mapping[str, Key], entries: Mapping[str, Entry]) -> None:
        self._keys = keys
        self._entries = entries

    def value(self, name: str) -> Any:
        """Return the value of a dotted key; ``KeyError`` for a key there is not (our bug)."""
        entry = self._entries.get(name)
        return self._keys[name].default() if entry is None else entry.value

    def origin(self, name: str) -> str:
        """Say where the value came from: ``default``, or the file, variable or flag."""
        entry = self._entries.get(name)
        if entry is None:
            return self._keys[name].origin
        return entry.origin

    def names(self) -> Iterator[str]:
        """Yield every key, settings first, then parameters of detectors and packs."""
        return iter(self._keys)

    def detector_overrides(self, name: str) -> dict[str, Any]:
        """Return the parameters of a detector that were set, typed, by parameter name."""
        return self._overrides(f"detectors.{name}.")

    def packs(self) -> list[str]:
        """Return the rule packs to load, by name.

        Raises
        ------
        ConfigError
            If a setting names one that there is not.
        """
        known = pack_names()
        for key in ("packs.enabled", "packs.added"):
            for name in self.value(key):
                if name not in known:
                    expected = f"a rule pack: {', '.join(known)}"
                    raise ConfigError(self.origin(key), key, name, expected)
        return chosen_packs(self.value("packs.enabled"), self.value("packs.added"))

    def pack_overrides(self, name: str) -> dict[str, Any]:
        """Return the figures of a rule pack that were set, typed, by figure name."""
        return self._overrides(f"packs.{name}.")

    def hash(
        self, extra: Mapping[str, str] | None = None, *, leave_out: tuple[str, ...] = ()
    ) -> str:
        """Return hex SHA-256 over every value that can change results.

        Of detectors and packs only parameters that differ from their defaults enter, so that a
        new detector leaves the hash alone; the defaults are part of each alert's rule hash.

        Parameters
        ----------
        extra
            Further facts that change results, such as the content hash of a pack file.
        leave_out
            Beginnings of keys that are not asked about.
        """
        facts: dict[str, Any] = {}
        for name, key in self._keys.items():
            if name.startswith(leave_out):
                continue
            value = self.value(name)
            if key.changes_results and not (key.only_if_changed and value == key.default()):
                facts[name] = msgspec.to_builtins(value)
        document = {"values": facts, "extra": dict(extra or {})}
        return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def _overrides(self, prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): entry.value
            for name, entry in self._entries.items()
            if name.startswith(prefix) and name not in config_keys.SETTING_NAMES
        }


def load(
    flags: Iterable[str] = (),
    options: Mapping[str, str | None] | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    detectors: ParamsTypes | None = None,
    packs: ParamsTypes | None = None,
) -> Config:
    """Read the configuration from its four places.

    Parameters
    ----------
    flags
        ``KEY=VALUE`` texts of ``--set``; the last of two for one key wins.
    options
        Value by key for settings that have an option of their own (``{"data": …}``, from
        ``--data``); None means not given. They win over ``--set``.
    file
        From ``--config``; it must exist. None reads tapewatch.toml where there is one.
    environment
        None reads the process's own.
    detectors, packs
        ``Params`` struct by detector name; struct of figures by pack name.

    Raises
    ------
    ConfigError
        For the first mistake found.
    """
    keys = config_keys.collect(detectors or {}, packs or {})
    entries: dict[str, Entry] = {}
    entries |= _from_file(file, keys)
    entries |= _from_environment(os.environ if environment is None else environment, keys)
    entries |= _from_flags(flags, keys)
    for name, text in (options or {}).items():
        if text is not None:
            where = "--" + name.replace("_", "-").replace(".", "-")
            entries[name] = _entry(keys, name, text, where)
    _check_whole({"detectors": detectors or {}, "packs": packs or {}}, entries)
    return Config(keys, entries)


def data_folder(
    option: str | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Return where the data folder lies, for those who only read it.

    Looks in the same places as ``load`` and in the same order, but at nothing else in them.

    Raises
    ------
    ConfigError
        If the file cannot be read, or the folder in it is no text.
    """
    setting = settings.BY_NAME["data"]
    if option is not None:
        return Path(option)
    from_environment = (os.environ if environment is None else environment).get(
        setting.environment_name
    )
    if from_environment is not None:
        return Path(from_environment)
    keys = config_keys.collect({}, {})
    return Path(Config(keys, _from_file(file, keys, only=frozenset({"data"}))).value("data"))


def _from_file(
    file: Path | None, keys: Mapping[str, Key], only: frozenset[str] | None = None
) -> dict[str, Entry]:
    path = Path(FILE_NAME) if file is None else file
    if file is None and not path.is_file():
        return {}
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), "", error.strerror or "no file", "a readable file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", str(error), "TOML") from error
    return {
        name: _entry(keys, name, got, str(path), from_text=False)
        for name, got in _flatten(tree, keys, "")
        if only is None or name in only
    }


def _flatten(tree: Mapping[str, Any], keys: Mapping[str, Key], prefix: str) -> Iterator[Any]:
    """Yield (dotted key, value); a table that is itself a setting's value stays whole."""
    for name, got in tree.items():
        dotted = prefix + name
        if isinstance(got, dict) and dotted not in keys:
            yield from _flatten(got, keys, dotted + ".")
        else:
            yield dotted, got


def _from_environment(environment: Mapping[str, str], keys: Mapping[str, Key]) -> dict[str, Entry]:
    by_variable = {key.environment_name: name for name, key in keys.items()}
    entries = {}
    for variable, text in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            guess = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            name = by_variable.get(variable, guess)
            entries[name] = _entry(keys, name, text, variable)
    return entries


def _from_flags(flags: Iterable[str], keys: Mapping[str, Key]) -> dict[str, Entry]:
    entries = {}
    for flag in flags:
        name, equals, text = flag.partition("=")
        if not equals:
            raise ConfigError("--set", "", f"'{flag}'", "KEY=VALUE")
        entries[name.strip()] = _entry(keys, name.strip(), text.strip(), "--set")
    return entries


def _entry(
    keys: Mapping[str, Key], name: str, got: Any, where: str, *, from_text: bool = True
) -> Entry:
    key = keys.get(name)
    if key is None:
        nearest = next(iter(get_close_matches(name, keys, n=1, cutoff=0.0)), None)
        raise ConfigError(where, name, "an unknown key", "a setting there is", nearest)
    try:
        return Entry(key.parse(got, from_text=from_text), where)
    except config_keys.BadValueError as error:
        raise ConfigError(where, name, repr(got), key.expected()) from error


def _check_whole(families: Mapping[str, ParamsTypes], entries: Mapping[str, Entry]) -> None:
    """Build each overridden ``Params`` once, so that its own cross-checks speak now."""
    for family, types in families.items():
        for name, params_type in types.items():
            prefix = f"{family}.{name}."
            mine = {k.removeprefix(prefix): e for k, e in entries.items() if k.startswith(prefix)}
            if not mine:
                continue
            try:
                params_type(**{parameter: entry.value for parameter, entry in mine.items()})
            except (ValueError, TypeError) as error:
                where = ", ".join(sorted({entry.origin for entry in mine.values()}))
                keys = ", ".join(prefix + parameter for parameter in sorted(mine))
                raise ConfigError(where, keys, str(error), "parameters that agree") from error
