"""Every attack on chain and bundles that the design lists, each as a test of its own name."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledger_logs import (
    ORIGIN,
    chained,
    changed,
    draft,
    drafts,
    entries_of,
    execute,
    forge,
    make_log,
    writer,
)

from ledger.bundles import decode_bundle, encode_bundle
from ledger.database import DATABASE
from ledger.entry import leaf_hash
from ledger.verify import AuditError, verify, verify_data
from ledger.verify.__main__ import main

COUNT = 600  # two full bundles and 88 entries of a third
FULL = "tile/entries/001"
OTHER = "tile/entries/000"
PARTIAL = "tile/entries/002.p/88"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "log"
    make_log(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long") / "log"
    make_log(folder, 768)
    return folder


@pytest.fixture
def log(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "log"))


def rewrite(log: Path, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = log / name
    path.write_bytes(encode_bundle(change(decode_bundle(path.read_bytes(), name))))


def test_an_honest_log_is_sound(log: Path) -> None:
    entries = entries_of(log)
    told: list[tuple[int, int]] = []
    report = verify(log, lambda done, in_all: told.append((done, in_all)))
    assert (report.verdict, report.origin, report.size, report.staged) == (
        "sound",
        ORIGIN,
        COUNT,
        0,
    )
    assert report.opened_ns == int(json.loads(entries[0])["log_time_ns"])
    assert report.last_ns == int(json.loads(entries[-1])["log_time_ns"])
    assert told[-1] == (COUNT, COUNT)


def test_the_size_of_a_log_does_not_matter(tmp_path: Path) -> None:
    for size in (1, 2, 255, 256, 257, 512):
        make_log(tmp_path / str(size), size)
        assert verify(tmp_path / str(size)).size == size


# ---- someone changes bundle files


def edit_a_byte(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[9].replace(b"too many", b"too  few"), *entries[10:]]


def space_the_json(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[9].replace(b',"i":', b', "i":'), *entries[10:]]


def delete_one(entries: list[bytes]) -> list[bytes]:
    return entries[:9] + entries[10:]


def insert_one(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[9], *entries[9:]]


def swap_two(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[10], entries[9], *entries[11:]]


def duplicate_over_another(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[8], *entries[10:]]


def merge_two(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[9] + entries[10], *entries[11:]]


def shift_a_boundary(entries: list[bytes]) -> list[bytes]:
    return [*entries[:9], entries[9] + entries[10][:1], entries[10][1:], *entries[11:]]


def drop_the_last(entries: list[bytes]) -> list[bytes]:
    return entries[:-1]


def add_one_at_the_end(entries: list[bytes]) -> list[bytes]:
    return [*entries, changed(entries[-1], i=COUNT, prev=leaf_hash(entries[-1]).hex())]


def empty_it(entries: list[bytes]) -> list[bytes]:
    return entries[:0]


@pytest.mark.parametrize("name", [FULL, PARTIAL])
@pytest.mark.parametrize(
    "attack",
    [
        edit_a_byte,
        space_the_json,
        delete_one,
        insert_one,
        swap_two,
        duplicate_over_another,
        merge_two,
        shift_a_boundary,
        drop_the_last,
        add_one_at_the_end,
        empty_it,
    ],
)
def test_changed_entries_in_a_bundle_are_detected(
    log: Path, name: str, attack: Callable[[list[bytes]], list[bytes]]
) -> None:
    rewrite(log, name, attack)
    with pytest.raises(AuditError):
        verify(log)


@pytest.mark.parametrize("name", [FULL, PARTIAL])
@pytest.mark.parametrize("tail", [b"\0", b"\0\0", b"\0\1", b"\xff\xff"])
def test_trailing_bytes_are_detected(log: Path, name: str, tail: bytes) -> None:
    with log.joinpath(name).open("ab") as file:
        file.write(tail)
    with pytest.raises(AuditError, match=name):
        verify(log)


def test_swapped_bundles_are_detected(log: Path) -> None:
    log.joinpath(FULL).rename(log / "aside")
    log.joinpath(OTHER).rename(log / FULL)
    log.joinpath("aside").rename(log / OTHER)
    with pytest.raises(AuditError, match="entry 0"):
        verify(log)


@pytest.mark.parametrize("name", [FULL, PARTIAL])
def test_a_removed_bundle_is_detected(log: Path, name: str) -> None:
    log.joinpath(name).unlink()
    with pytest.raises(AuditError, match=f"{name}: is missing"):
        verify(log)


def test_a_partial_that_differs_from_its_full_bundle_is_detected(log: Path) -> None:
    entries = entries_of(log)
    partial = log / f"{FULL}.p/20"
    partial.parent.mkdir()
    partial.write_bytes(encode_bundle(entries[256:276]))
    assert verify(log).size == COUNT
    partial.write_bytes(encode_bundle([*entries[256:275], entries[276]]))
    with pytest.raises(AuditError, match=r"001\.p/20: differs"):
        verify(log)


@pytest.mark.parametrize(
    "name", ["tile/entries/002.p/89", "tile/entries/002", "tile/entries/003.p/1"]
)
def test_a_bundle_ahead_of_the_database_is_detected(log: Path, name: str) -> None:
    log.joinpath(name).parent.mkdir(exist_ok=True)
    shutil.copyfile(log / PARTIAL, log / name)
    with pytest.raises(AuditError, match="ahead of the database"):
        verify(log)


@pytest.mark.parametrize(
    "name",
    ["tile/0/000", "tile/notes", "tile/entries/1", "tile/entries/x000/000", "tile/entries/000.p/x"],
)
def test_an_extra_file_is_detected(log: Path, name: str) -> None:
    log.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
    log.joinpath(name).write_bytes(b"")
    with pytest.raises(AuditError, match="does not belong into a log"):
        verify(log)


def test_a_link_in_place_of_a_bundle_is_detected(log: Path) -> None:
    log.joinpath(FULL).rename(log / "aside")
    log.joinpath(FULL).symlink_to(log / "aside")
    with pytest.raises(AuditError, match="does not belong"):
        verify(log)


def test_a_bundle_that_vanishes_for_a_wider_one_is_none_of_the_verifiers_business(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ledger.verify import audit  # noqa: PLC0415 - to stand between its two looks

    real = audit.list_bundles
    monkeypatch.setattr(audit, "list_bundles", lambda folder: real(folder) | {1: {20, 256}})
    assert verify(log).size == COUNT
    monkeypatch.setattr(audit, "list_bundles", lambda folder: real(folder) | {2: {87, 88}})
    assert verify(log).size == COUNT
    log.joinpath(PARTIAL).unlink()
    with pytest.raises(AuditError, match="vanished while"):
        verify(log)


# ---- someone changes the database


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET root = 'text'",
        "UPDATE head SET size = size - 1",
        "UPDATE head SET size = size + 1",
        "UPDATE head SET size = 512, applied = 512",
        "UPDATE head SET applied = size + 1",
        "UPDATE head SET applied = -1",
        "UPDATE head SET origin = 'another/log'",
        "UPDATE head SET origin = 'two words'",
        "DELETE FROM head",
        "DELETE FROM stage WHERE i = 599",
        "UPDATE stage SET entry = 'text' WHERE i = 599",
        "UPDATE stage SET entry = zeroblob(65536) WHERE i = 599",
        "UPDATE stage SET entry = zeroblob(400) WHERE i = 599",
        "INSERT INTO stage SELECT 0, entry FROM stage WHERE i = 599",
        "UPDATE eid SET i = 1 WHERE i = 2",
        "UPDATE eid SET i = 2.5 WHERE i = 2",
        "UPDATE eid SET eid = zeroblob(16) WHERE i = 2",
        "UPDATE eid SET eid = 'text' WHERE i = 2",
        "DELETE FROM eid WHERE i = 2",
        "INSERT INTO eid VALUES (zeroblob(16), 2)",
        "DROP TABLE stage",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON stage (entry)",
        "PRAGMA user_version = 2",
    ],
)
def test_an_edited_database_is_detected(log: Path, statement: str) -> None:
    execute(log, statement)
    with pytest.raises(AuditError):
        verify(log)


@pytest.mark.parametrize(("keys", "values"), [([b"b", b"a"], 2), ([b"a", b"b"], 3)])
def test_an_index_out_of_order_or_with_a_repeat_is_detected(keys: list[bytes], values: int) -> None:
    from ledger.verify.database import _read_eids  # noqa: PLC0415 - SQLite itself writes no such file

    class Answers:
        def execute(self, query: str) -> Any:
            rows = list(zip(keys, range(2), strict=True))
            return self if "count" in query else rows

        def fetchone(self) -> tuple[int]:
            return (values,)

    with pytest.raises(AuditError, match=r"out of order|an eid twice"):
        _read_eids(Answers())  # type: ignore[arg-type]


def test_a_database_rolled_back_under_its_files_is_detected(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    old = tmp_path.joinpath(DATABASE).read_bytes()
    with writer(tmp_path) as log:
        log.append(drafts(10, start=1000))
    tmp_path.joinpath(DATABASE).write_bytes(old)
    with pytest.raises(AuditError, match="ahead of the database: that was rolled back"):
        verify(tmp_path)


def test_a_view_in_place_of_a_table_is_not_even_asked(log: Path) -> None:
    execute(log, "ALTER TABLE stage RENAME TO old")
    execute(
        log,
        "CREATE VIEW stage AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n)"
        " SELECT i, i AS entry FROM n",
    )
    with pytest.raises(AuditError, match="its tables are not those of a log"):
        verify(log)


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_a_file_that_is_no_database_is_detected(log: Path, content: bytes) -> None:
    log.joinpath(DATABASE).write_bytes(content)
    with pytest.raises(AuditError):
        verify(log)


def test_a_missing_database_is_detected(log: Path) -> None:
    log.joinpath(DATABASE).unlink()
    with pytest.raises(AuditError, match=r"holds no ledger\.sqlite"):
        verify(log)


def test_a_log_without_entries_is_not_sound(log: Path) -> None:
    forge(log, [])
    with pytest.raises(AuditError, match="no entry, not even the one that opens it"):
        verify(log)


# ---- someone rewrites history so that files, root and index agree


def replaced(entries: list[bytes], index: int, **fields: Any) -> list[bytes]:
    return [*entries[:index], changed(entries[index], **fields), *entries[index + 1 :]]


def raw(entries: list[bytes], index: int, old: bytes, new: bytes) -> list[bytes]:
    assert old in entries[index]
    return [*entries[:index], entries[index].replace(old, new, 1), *entries[index + 1 :]]


FORGERIES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "edited body": (lambda e: replaced(e, 300, body={"count": 1}), "entry 301: does not name"),
    "broken index": (lambda e: replaced(e, 599, i=598), "entry 599: says that it is entry 598"),
    "broken prev": (lambda e: replaced(e, 599, prev="ab" * 32), "entry 599: does not name"),
    "prev in capitals": (lambda e: replaced(e, 599, prev="AB" * 32), "entry 599: .*lower-case hex"),
    "deleted entry": (lambda e: e[:300] + e[301:], "entry 300: says that it is entry 301"),
    "another log's entry": (
        lambda e: replaced(e, 599, log="other"),
        "entry 599: belongs to the log",
    ),
    "eid twice": (
        lambda e: chained(replaced(e, 599, eid=json.loads(e[598])["eid"])),
        "entry 598: is not where the index leads",
    ),
    "backdated": (
        lambda e: chained(replaced(e, 599, log_time_ns="1")),
        "entry 599: was logged earlier",
    ),
    "spaced": (
        lambda e: raw(e, 599, b":", b": "),
        "entry 599: is not canonical JSON: .*canonical form",
    ),
    "leading zero": (lambda e: raw(e, 599, b'"i":599', b'"i":0599'), "entry 599: is not canonical"),
    "minus zero": (lambda e: raw(e, 599, b'"count":598', b'"count":-0'), "entry 599: .*form"),
    "float": (lambda e: raw(e, 599, b'"count":598', b'"count":0.5'), "entry 599: .*number 0.5"),
    "not a number": (lambda e: raw(e, 599, b'"count":598', b'"count":NaN'), "entry 599: .*NaN"),
    "large integer": (lambda e: raw(e, 599, b'"count":598', b'"count":9007199254740992'), "2.53"),
    "huge integer": (lambda e: raw(e, 599, b'"count":598', b'"count":' + b"9" * 5000), "canonical"),
    "key twice": (lambda e: raw(e, 599, b'"body":', b'"body":{},"body":'), "entry 599: .*form"),
    "lone surrogate": (
        lambda e: raw(e, 599, b"too many", b"\\ud800"),
        "entry 599: is not canonical",
    ),
    "not UTF-8": (lambda e: raw(e, 599, b"too many", b"\xff"), "entry 599: is not canonical"),
    "not NFC": (lambda e: raw(e, 599, b"too many", "e\u0301".encode()), "normal form C"),
    "needless escape": (lambda e: raw(e, 599, b"too many", b"\\u0041"), "canonical form"),
    "foreign key": (lambda e: raw(e, 599, b'"why"', '"wíy"'.encode()), "a key is not ASCII"),
    "too deep": (
        lambda e: raw(e, 599, b'"count":598', b'"count":' + b"[" * 63 + b"]" * 63),
        "nested deeper than 64",
    ),
    "far too deep": (
        lambda e: raw(e, 599, b'"count":598', b'"count":' + b"[" * 9000 + b"]" * 9000),
        "not canonical",
    ),
    "trailing text": (lambda e: [*e[:599], e[599] + b"x"], "entry 599: is not canonical"),
    "not an object": (lambda e: [*e[:599], b"[]"], "not exactly the fields"),
    "not JSON": (lambda e: [*e[:599], b""], "entry 599: is not canonical"),
    "unknown field": (lambda e: replaced(e, 599, extra=1), "not exactly the fields"),
    "other version": (lambda e: replaced(e, 599, v=2), "format version"),
    "true for one": (lambda e: replaced(e, 599, v=True), "format version"),
    "kind is a list": (lambda e: replaced(e, 599, kind=[]), "should be text"),
    "unknown kind": (lambda e: replaced(e, 599, kind="alarm"), "a kind that does not exist"),
    "index is true": (lambda e: replaced(e, 599, i=True), "has no index"),
    "no actor": (lambda e: replaced(e, 599, actor=""), "has no actor"),
    "endless actor": (lambda e: replaced(e, 599, actor="x" * 257), "has no actor"),
    "short eid": (lambda e: replaced(e, 599, eid="ab"), "lower-case hex"),
    "time with a zero": (lambda e: replaced(e, 599, event_time_ns="07"), "not nanoseconds"),
    "time too late": (
        lambda e: replaced(e, 599, log_time_ns="9300000000000000000"),
        "not nanoseconds",
    ),
    "body is a list": (lambda e: replaced(e, 599, body=[]), "body or a rule"),
    "rule is text": (lambda e: replaced(e, 599, rule="x"), "body or a rule"),
    "rule with a float": (lambda e: raw(e, 599, b'"version":1', b'"version":1.0'), "number 1.0"),
    "source without name": (lambda e: replaced(e, 599, src=[{"offset": 1}]), "has a source that"),
    "negative offset": (
        lambda e: replaced(e, 599, src=[{"offset": -1, "partition": 0, "source": "a"}]),
        "has a source that",
    ),
    "second opening": (lambda e: replaced(e, 599, kind="log.opened"), "before the log's opening"),
    "no opening": (lambda e: chained(e[1:]), "entry 0: stands before the log's opening"),
    "after the closing": (
        lambda e: chained(replaced(e, 598, kind="log.closed")),
        "entry 599: stands before the log's opening or after its closing",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_history_is_detected(log: Path, name: str) -> None:
    forgery, sentence = FORGERIES[name]
    forge(log, forgery(entries_of(log)))
    with pytest.raises(AuditError, match=sentence):
        verify(log)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_in_a_full_bundle_is_detected_too(long: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(long, tmp_path / "long"))
    entries = entries_of(folder)
    forgery, _ = FORGERIES[name]
    forged = forgery(entries[:COUNT])
    forge(folder, forged + entries[len(forged) :])
    with pytest.raises(AuditError):
        verify(folder)


def test_keys_out_of_order_are_detected(log: Path) -> None:
    entries = entries_of(log)
    forge(log, raw(entries, 599, b'"config"', b'"zonfig"'))
    with pytest.raises(AuditError, match="canonical form"):
        verify(log)


def test_unusual_but_honest_entries_are_sound(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        log.append(drafts(300))
        log.append(
            [
                draft(400, body={"why": "撤单过多 \n", "eid": "x", "prev": {"rule": [1]}}),
                draft(401, rule=None, src=[]),
                draft(402, body={"a": "x" * 60_000}),
                draft(403, actor='a "quoted" 人', rule={"id": "é", "version": 1}),
                draft(404, src=[{"source": "файл", "partition": 0, "offset": 2**53 - 1}] * 3),
                draft(405, body={}, kind="divergence.x"[:0] + "coverage"),
                draft(406, body={"kéy"[:1]: "e"}),
            ]
        )
        log.append(drafts(300, start=500))
        log.append([draft(1, body={})])
    assert verify(tmp_path).size == 609


def test_more_rules_than_are_remembered_are_sound_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.verify.chain.RULES_KEPT", 3)
    with writer(tmp_path) as log:
        log.append([draft(number, rule={"version": number % 7}) for number in range(600)])
    assert verify(tmp_path).size == 601


def test_a_file_in_place_of_the_tile_folder_is_detected(log: Path) -> None:
    shutil.rmtree(log / "tile")
    log.joinpath("tile").touch()
    with pytest.raises(AuditError, match="cannot be read as a log"):
        verify(log)


def test_a_closed_log_is_sound(log: Path) -> None:
    forge(log, replaced(entries_of(log), 599, kind="log.closed"))
    assert verify(log).size == COUNT


# ---- history, against a head noted earlier


@pytest.mark.parametrize("size", [1, 256, 300, 512, 599, 600])
def test_a_trusted_head_tells_an_honest_log_from_a_rewritten_one(log: Path, size: int) -> None:
    entries = entries_of(log)
    forge(log, entries[:size])
    trusted = (size, verify(log).head)
    forge(log, entries)
    assert verify(log, trusted=trusted).size == COUNT
    forge(log, chained(replaced(entries, 0, body={"continues": "1"})))
    assert verify(log).verdict == "sound"  # as a whole it is: only someone else's note helps
    with pytest.raises(AuditError, match="are not those trusted"):
        verify(log, trusted=trusted)


def test_a_trusted_head_shows_a_cut_off_tail(log: Path) -> None:
    report = verify(log)
    forge(log, entries_of(log)[:590])
    with pytest.raises(AuditError, match="ends at 590 and once had 600"):
        verify(log, trusted=(report.size, report.head))


# ---- the command and the data folder


def test_a_data_folder_is_verified_log_by_log(log: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(AuditError, match="holds no log"):
        verify_data(data)
    shutil.copytree(log, data / "ledger/monitor")
    make_log(data / "ledger/console", 3)
    assert [report.size for report in verify_data(data)] == [3, COUNT]


def test_the_command_says_sound_in_words_and_in_json(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(log)]) == 0
    assert capsys.readouterr().out.startswith(f"{ORIGIN} is sound: {COUNT} entries, root ")
    shutil.copytree(log, tmp_path / "data/ledger/monitor")
    assert main([str(tmp_path / "data"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["logs"][0]["size"], told["fault"]) == ("sound", COUNT, None)


def test_the_command_says_what_is_wrong_and_ends_with_5(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.joinpath(FULL).unlink()
    assert main([str(log)]) == 5
    assert capsys.readouterr().out == f"NOT SOUND. {FULL}: is missing.\n"
    assert main([str(log), "--json"]) == 5
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "damaged"
    assert told["fault"] == {"where": FULL, "sentence": "is missing."}


def test_the_module_runs_as_a_command(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["verify", str(log)])
    monkeypatch.delitem(sys.modules, "ledger.verify.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("ledger.verify", run_name="__main__")
    assert ended.value.code == 0


def test_the_verifier_runs_alone(log: Path, tmp_path: Path) -> None:
    import ledger.verify  # noqa: PLC0415 - only for its place

    program = (
        "import runpy, sys; sys.path.insert(0, sys.argv.pop(1));"
        "runpy.run_module('verify', run_name='__main__')"
    )
    alone = shutil.copytree(Path(ledger.verify.__file__).parent, tmp_path / "alone/verify")
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(alone.parent), str(log)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound" in done.stdout
