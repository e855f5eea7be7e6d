"""The manifest of a data folder: which run it holds, so that no other is mixed into it."""

import json
import os
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from detectors.core.blocks import LAYOUT, Block
from flows import versions

FORMAT: Final = 2
MANIFEST_NAME: Final = "manifest.json"


class DataFolderError(RuntimeError):
    """The folder cannot be used so; the sentence says what to do instead."""


class InputSource(Struct, frozen=True, kw_only=True):
    """One input of a run.

    Attributes
    ----------
    name
        As people gave it: a path, or a URL such as ``sim://…``. Never part of the identity, as a
        file may be moved between start and resume.
    sha256
        Hex; of a file's bytes, or of the URL of an endless source.
    size
        In bytes; 0 for an endless source.
    format, options
        Whatever else decides what the bytes mean: the adapter, and its settings in one text.
    """

    name: str
    sha256: str
    size: int
    format: str
    options: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what makes two inputs the same."""
        return self.sha256, self.format, self.options


class StateLayout(Struct, frozen=True, kw_only=True):
    """Of what versions the snapshots are.

    Attributes
    ----------
    layout
        Of the tables; a manifest that names none is of the first.
    changes
        How often rules have changed since the run began.
    blocks
        One for each rule.
    """

    layout: int = 1
    changes: int = 0
    blocks: tuple[Block, ...] = ()


class Rules(Struct, frozen=True, kw_only=True):
    """The rules of a start.

    Attributes
    ----------
    blocks
        What each remembers.
    other_settings
        Hash of all settings that can change results, but for those of rules.
    may_change
        Other rules than those of the last start are taken: the input never ends.
    """

    blocks: tuple[Block, ...] = ()
    other_settings: str = ""
    may_change: bool = False


class Manifest(Struct, frozen=True, kw_only=True):
    """What the folder holds. Times are not here: the same run gives the same manifest."""

    format: int
    run_key: str
    inputs: tuple[InputSource, ...]
    config_hash: str
    shards: int
    versions: dict[str, str]
    completed: bool = False
    other_settings: str = ""
    state: StateLayout = StateLayout()


def file_source(path: Path, file_format: str, options: str = "") -> InputSource:
    """Return the identity of a file, reading it once from end to end."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return InputSource(
        name=str(path), sha256=digest, size=size, format=file_format, options=options
    )


def url_source(
    url: str, stream_format: str, options: str = "", identity: str | None = None
) -> InputSource:
    """Return the identity of an endless source: its URL, or what of it says which events come."""
    digest = sha256((url if identity is None else identity).encode()).hexdigest()
    return InputSource(name=url, sha256=digest, size=0, format=stream_format, options=options)


def describe_run(
    inputs: tuple[InputSource, ...], config_hash: str, shards: int, rules: Rules
) -> Manifest:
    """Return the manifest of a run that has read nothing yet."""
    # sorted: several files are merged by time, so their order on the command line says nothing
    identity = [sorted(source.identity for source in inputs), config_hash, shards]
    return Manifest(
        format=FORMAT,
        run_key=sha256(json.dumps(identity).encode()).hexdigest(),
        inputs=inputs,
        config_hash=config_hash,
        shards=shards,
        versions=versions.installed(),
        other_settings=rules.other_settings,
        state=StateLayout(layout=LAYOUT, blocks=rules.blocks),
    )


def is_same_run(found: Manifest, wanted: Manifest, *, rules_may_change: bool) -> bool:
    """Say whether a run is the one that a folder holds."""
    mine, other = (
        (
            sorted(source.identity for source in m.inputs),
            m.shards,
            m.other_settings if rules_may_change else m.config_hash,
        )
        for m in (wanted, found)
    )
    return mine == other


def layout_problem(root: Path, found: Manifest) -> str | None:
    """Return the sentence for a run whose state this version cannot take up; None: it can."""
    if found.completed or found.state.layout == LAYOUT:
        return None
    made_by = found.versions.get("tapewatch", "of another version")
    return (
        f"The data folder {root} holds a run in the middle, with state of layout "
        f"{found.state.layout}; this Tapewatch knows layout {LAYOUT}. Let the Tapewatch that made "
        f"it ({made_by}) finish the run, or start again with another --data: the same input gives "
        "the same alert ids."
    )


def read_manifest(root: Path) -> Manifest | None:
    """Return what a folder holds, without locking; None where no run was begun.

    Raises
    ------
    DataFolderError
        If the manifest cannot be read, or is of a newer format.
    """
    path = root / MANIFEST_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise DataFolderError(
            f"Cannot read {path}: {error}. Restore it from a copy, or choose another --data."
        ) from error
    if manifest.format > FORMAT:
        raise DataFolderError(
            f"{path} has format {manifest.format}, this Tapewatch knows {FORMAT}: a newer version "
            "wrote it. Use that version, or another --data."
        )
    return manifest


def what_differs(root: Path, found: Manifest, wanted: Manifest) -> str:
    """Return the sentence for somebody who brings another run to this folder."""
    differences = []
    mine, other = ({source.identity for source in m.inputs} for m in (wanted, found))
    if mine != other or len(wanted.inputs) != len(found.inputs):
        names = ", ".join(source.name for source in found.inputs) or "none"
        differences.append(f"its inputs are {names}")
    if found.config_hash != wanted.config_hash:
        differences.append("its settings differ (see `tapewatch config show --origin`)")
    if found.shards != wanted.shards:
        differences.append(f"it was made with {found.shards} shards, not {wanted.shards}")
    return (
        f"The data folder {root} holds another run: {'; '.join(differences)}. "
        "Choose another --data, or remove the folder if you no longer need it."
    )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Put the manifest in place; durable on return."""
    document: dict[str, Any] = msgspec.to_builtins(manifest)
    write_atomically(root / MANIFEST_NAME, json.dumps(document, indent=2).encode() + b"\n")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file whole; after a crash it is the old one or the new one (mode 0600)."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
