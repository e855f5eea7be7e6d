import json
import multiprocessing
import os
import stat
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from detectors.core.blocks import LAYOUT, Block
from flows import datafolder, manifest
from flows.datafolder import DataFolder, DataFolderBusyError
from flows.manifest import DataFolderError, InputSource, Rules, StateLayout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data"


def source(name: str = "a.ndjson", content: str = "00", **changes: str) -> InputSource:
    fields = {"format": "ndjson", "options": ""} | changes
    return InputSource(name=name, sha256=content * 32, size=7, **fields)


def state(root: Path, *inputs: InputSource, config_hash: str = "c", shards: int = 32) -> str:
    with DataFolder(root) as folder:
        return folder.open_run(inputs, config_hash, shards).state


def test_the_same_inputs_resume_until_completed(root: Path) -> None:
    assert state(root, source()) == "fresh"
    assert state(root, source()) == "resume"
    with DataFolder(root) as folder:
        run = folder.open_run([source()], "c", 32)
        run.complete()
        assert run.state == "completed"
    assert state(root, source()) == "completed"


def test_a_moved_file_is_the_same_input(root: Path) -> None:
    state(root, source("a.ndjson"))
    assert state(root, source("elsewhere/b.ndjson")) == "resume"


def test_the_order_of_files_says_nothing(root: Path) -> None:
    one, two = source(content="01"), source(content="02")
    state(root, one, two)
    assert state(root, two, one) == "resume"


@pytest.mark.parametrize(
    ("inputs", "config_hash", "shards", "difference"),
    [
        ([source(content="99")], "c", 32, "its inputs are a.ndjson"),
        ([source(), source()], "c", 32, "its inputs are a.ndjson"),
        ([source(format="lobster")], "c", 32, "its inputs are a.ndjson"),
        ([source(options="overlay:1:9")], "c", 32, "its inputs are a.ndjson"),
        ([], "c", 32, "its inputs are a.ndjson"),
        ([source()], "d", 32, "its settings differ"),
        ([source()], "c", 16, "it was made with 32 shards, not 16"),
    ],
)
def test_another_run_is_refused_with_what_differs(
    root: Path, inputs: list[InputSource], config_hash: str, shards: int, difference: str
) -> None:
    state(root, source())
    with DataFolder(root) as folder, pytest.raises(DataFolderError) as caught:
        folder.open_run(inputs, config_hash, shards)
    assert difference in str(caught.value)
    assert str(caught.value).endswith("or remove the folder if you no longer need it.")


def test_a_refused_run_leaves_the_first_one_alone(root: Path) -> None:
    state(root, source())
    before = (root / "manifest.json").read_bytes()
    with DataFolder(root) as folder, pytest.raises(DataFolderError):
        folder.open_run([], "c", 32)
    assert (root / "manifest.json").read_bytes() == before


def _hold(root: Path, pipe: Connection) -> None:
    with DataFolder(root, command="tapewatch up"):
        pipe.send(os.getpid())
        pipe.recv()


def test_a_busy_folder_is_refused_and_names_its_holder(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_hold, args=(root, theirs))
    child.start()
    holder = ours.recv()
    with pytest.raises(DataFolderBusyError) as caught:
        DataFolder(root)
    assert f"in use by process {holder} (tapewatch up). Stop that process" in str(caught.value)
    assert manifest.read_manifest(root) is None, "readers never lock"
    child.kill()
    child.join()
    DataFolder(root).close()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(DataFolderError, match=r"holds letters\.txt, so it is no Tapewatch"):
        DataFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataFolderError, match=r"Cannot use the data folder .*Choose another"):
        DataFolder(tmp_path / "file" / "data")


def test_a_damaged_manifest_is_no_fresh_start(root: Path) -> None:
    state(root, source())
    (root / "manifest.json").write_text("{")
    with pytest.raises(DataFolderError, match=r"Cannot read .*manifest\.json"):
        state(root, source())


def test_a_newer_manifest_is_refused(root: Path) -> None:
    state(root, source())
    document = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(document | {"format": manifest.FORMAT + 1}))
    with pytest.raises(DataFolderError, match="a newer version wrote it"):
        manifest.read_manifest(root)


def rules_of(*versions: int, settings: str = "s", may_change: bool = False) -> Rules:
    blocks = tuple(
        Block(rule=f"r{n}", detector="d", version=v, dtype="8:x", parameters="p")
        for n, v in enumerate(versions)
        if v
    )
    return Rules(blocks=blocks, other_settings=settings, may_change=may_change)


def changes(root: Path, config_hash: str, rules: Rules) -> list[tuple[str, str]]:
    with DataFolder(root) as folder:
        run = folder.open_run([source()], config_hash, 32, rules)
        found = [(change.rule, change.change) for change in run.changes]
        run.settle_rules()
        return found


def test_what_becomes_of_each_rule_s_memory_is_known_once(root: Path) -> None:
    assert changes(root, "c", rules_of(1, 1, 1)) == []
    wanted = [("r1", "changed"), ("r2", "removed"), ("r3", "added")]
    assert changes(root, "c", rules_of(1, 2, 0, 1)) == wanted
    assert changes(root, "c", rules_of(1, 2, 0, 1)) == []
    found = manifest.read_manifest(root)
    assert found is not None
    assert (found.state.layout, found.state.changes) == (LAYOUT, 1)


def test_other_rules_are_another_run_unless_its_input_never_ends(root: Path) -> None:
    changes(root, "c", rules_of(1))
    with pytest.raises(DataFolderError, match="its settings differ"):
        changes(root, "d", rules_of(2))
    key = manifest.read_manifest(root).run_key  # type: ignore[union-attr]
    assert changes(root, "d", rules_of(2, may_change=True)) == [("r0", "changed")]
    assert manifest.read_manifest(root).run_key == key  # type: ignore[union-attr]
    assert changes(root, "d", rules_of(2)) == []
    with pytest.raises(DataFolderError, match="its settings differ"):
        changes(root, "e", rules_of(2, settings="t", may_change=True))


def test_state_of_an_earlier_layout_is_refused_with_what_to_do(root: Path) -> None:
    state(root, source())
    document = json.loads((root / "manifest.json").read_text())
    del document["state"]  # as the first layout's manifest has none
    (root / "manifest.json").write_text(json.dumps(document | {"format": 1}))
    before = (root / "manifest.json").read_bytes()
    with pytest.raises(DataFolderError) as caught:
        state(root, source())
    assert f"state of layout 1; this Tapewatch knows layout {LAYOUT}" in str(caught.value)
    assert "another --data: the same input gives the same alert ids." in str(caught.value)
    assert (root / "manifest.json").read_bytes() == before
    (root / "manifest.json").write_text(json.dumps(document | {"completed": True}))
    assert state(root, source()) == "completed"
    assert StateLayout().layout == 1


def test_a_crash_while_writing_the_manifest_leaves_the_old_one(root: Path) -> None:
    state(root, source())
    (root / ".manifest.json.new").write_text("{torn")
    assert state(root, source()) == "resume"


def test_only_the_owner_can_look_inside(root: Path) -> None:
    with DataFolder(root) as folder:
        folder.open_run([source()], "c", 32)
    names = ("", "keys", "manifest.json")
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in names]
    assert modes == [0o700, 0o700, 0o600]


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * 100)
    (tmp_path / "c").write_bytes(b"y" * 100)
    a, b, c = (manifest.file_source(tmp_path / name, "ndjson") for name in "abc")
    assert a.identity == b.identity != c.identity
    assert a.size == 100


def test_endless_sources_are_known_by_their_url() -> None:
    one = manifest.url_source("sim://?seed=1", "ndjson")
    assert one.identity != manifest.url_source("sim://?seed=2", "ndjson").identity


def test_the_manifest_names_the_versions_at_work(root: Path) -> None:
    state(root, source())
    found = manifest.read_manifest(root)
    assert found is not None
    assert {"python", "tapewatch", "bytewax", "numba"} <= found.versions.keys()


def test_everything_lies_inside_the_folder(root: Path) -> None:
    paths = datafolder.Paths(root)
    for path in (paths.store, paths.control, paths.ledger, paths.recovery, paths.spool, paths.keys):
        assert path.parent == root
