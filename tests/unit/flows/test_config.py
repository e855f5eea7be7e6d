from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from flows import config
from flows.config import Config, ConfigError


class WinRateParams(Struct, frozen=True):
    unit: Literal["fill", "order", "round_trip"] = "round_trip"
    min_units: Annotated[int, Meta(ge=1)] = 10
    threshold: float = 0.9
    simulated_only: bool = True
    venues: tuple[str, ...] = ()
    low: int = 1

    def __post_init__(self) -> None:
        if self.low > self.min_units:
            raise ValueError("low is above min_units")


class PackFigures(Struct, frozen=True):
    cancels_max: int = 500


DETECTORS: dict[str, type[Struct]] = {"win_rate": WinRateParams}
PACKS: dict[str, type[Struct]] = {"cn_futures": PackFigures}


def load(
    *flags: str,
    environment: dict[str, str] | None = None,
    file: Path | None = None,
    options: dict[str, str | None] | None = None,
) -> Config:
    return config.load(flags, options, file, environment or {}, DETECTORS, PACKS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.conf"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_set_gives_defaults() -> None:
    loaded = load()
    assert loaded.value("shards") == 32
    assert loaded.origin("shards") == "default"
    assert loaded.value("detectors.win_rate.unit") == "round_trip"
    assert loaded.detector_overrides("win_rate") == {}


def test_flag_beats_environment_beats_file_beats_default(file: Path) -> None:
    file.write_text("shards = 2\n[intake]\nbatch_rows = 3\nblock_bytes = 8192\n")
    environment = {"TAPEWATCH__SHARDS": "4", "TAPEWATCH__INTAKE__BATCH_ROWS": "5"}
    loaded = load("shards=8", environment=environment, file=file)
    assert [loaded.value(n) for n in ("shards", "intake.batch_rows", "intake.block_bytes")] == [
        8,
        5,
        8192,
    ]
    assert [loaded.origin(n) for n in ("shards", "intake.batch_rows", "intake.block_bytes")] == [
        "--set",
        "TAPEWATCH__INTAKE__BATCH_ROWS",
        str(file),
    ]


def test_an_option_of_its_own_beats_set() -> None:
    loaded = load("data=a", options={"data": "b"})
    assert (loaded.value("data"), loaded.origin("data")) == ("b", "--data")
    assert load("data=a", options={"data": None}).value("data") == "a"


def test_the_file_in_the_working_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "tapewatch.toml").write_text('data = "here"\n')
    assert load().value("data") == "here"
    assert load().origin("data") == "tapewatch.toml"


def test_of_two_flags_for_one_key_the_last_wins() -> None:
    assert load("shards=2", "shards=4").value("shards") == 4


def test_detector_parameters_are_typed() -> None:
    loaded = load(
        "detectors.win_rate.unit=order",
        "detectors.win_rate.min_units=20",
        "detectors.win_rate.threshold=1",
        "detectors.win_rate.simulated_only=false",
        "detectors.win_rate.venues=XSHG, XSHE",
    )
    assert loaded.detector_overrides("win_rate") == {
        "unit": "order",
        "min_units": 20,
        "threshold": 1.0,
        "simulated_only": False,
        "venues": ("XSHG", "XSHE"),
    }


def test_pack_figures_are_apart_from_settings_of_packs(file: Path) -> None:
    file.write_text("[packs]\nenabled = ['cn_futures']\n[packs.cn_futures]\ncancels_max = 400\n")
    loaded = load(file=file)
    assert loaded.value("packs.enabled") == ["cn_futures"]
    assert loaded.pack_overrides("cn_futures") == {"cancels_max": 400}


def test_tables_stay_whole(file: Path) -> None:
    file.write_text("[lateness_sources]\nSSE = 7\n'a.b' = 8\n")
    assert load(file=file).value("lateness_sources") == {"SSE": 7, "a.b": 8}
    assert load('lateness_sources={"app": 9}').value("lateness_sources") == {"app": 9}


MISTAKES = [
    ("shards=three", "--set: shards: expected a whole number from 1 to 1024, a power of two"),
    ("shards=3", "a power of two (shards), got '3'."),
    ("shards=2048", "from 1 to 1024"),
    ("epoch_seconds=nan", "a number from 0.0 to 3600.0 (seconds), got 'nan'"),
    ("shrads=3", "--set: shrads: expected a setting there is, got an unknown key"),
    ("shrads=3", "the nearest setting is shards."),
    ("shards", "--set: expected KEY=VALUE, got 'shards'"),
    ("detectors.win_rate.unit=trade", "expected fill or order or round_trip, got 'trade'"),
    ("detectors.win_rate.units=fill", "the nearest setting is detectors.win_rate.unit."),
    ("detectors.win_rat.unit=fill", "the nearest setting is detectors.win_rate.unit."),
    ("detectors.win_rate.min_units=0", "a whole number ≥ 1, got '0'"),
    ("detectors.win_rate.low=11", "detectors.win_rate.low: expected parameters that agree"),
    ('lateness_sources={"app": -9}', "a table of names, each with a whole number ≥ 0"),
    ("lateness_sources=app", "a table of names"),
    ("notices.simulated_only=perhaps", "true or false"),
]


@pytest.mark.parametrize(("flag", "sentence"), MISTAKES)
def test_a_mistake_names_place_key_got_and_expected(flag: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flag)
    assert sentence in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment={"TAPEWATCH__SHARD": "3"})
    assert str(caught.value).startswith("TAPEWATCH__SHARD: shard: expected a setting there is")
    assert caught.value.nearest == "shards"


def test_a_mistake_in_a_file_names_the_file(file: Path) -> None:
    file.write_text("shards = '8'\n")
    with pytest.raises(ConfigError) as caught:
        load(file=file)
    assert (caught.value.where, caught.value.key, caught.value.got) == (str(file), "shards", "'8'")


def test_a_broken_file_names_the_line(file: Path) -> None:
    file.write_text("shards = 8\nshards = 9\n")
    with pytest.raises(ConfigError, match=r"expected TOML.*line 2"):
        load(file=file)


def test_a_file_that_was_asked_for_must_exist(file: Path) -> None:
    with pytest.raises(ConfigError, match="a readable file, got No such file"):
        load(file=file)


def test_paths_and_speed_knobs_leave_the_hash_alone() -> None:
    base = load().hash()
    assert base == load("data=x", "epoch_seconds=9", "intake.batch_rows=7").hash()
    assert len(base) == 64


@pytest.mark.parametrize(
    "flag",
    ["lateness_ns=6", "calendar.default=24/7", "detectors.win_rate.unit=fill"],
)
def test_whatever_can_change_results_changes_the_hash(flag: str) -> None:
    assert load(flag).hash() != load().hash()


def test_a_parameter_set_to_its_default_leaves_the_hash_alone() -> None:
    assert load("detectors.win_rate.min_units=10").hash() == load().hash()


def test_a_new_detector_leaves_the_hash_alone() -> None:
    assert config.load(environment={}).hash() == load().hash()


def test_further_facts_change_the_hash() -> None:
    assert load().hash({"pack": "ab"}) != load().hash()


def test_defaults_are_not_shared_between_runs() -> None:
    load().value("packs.enabled").append("mine")
    assert load().value("packs.enabled") == []


def test_every_key_is_listed_once() -> None:
    names = list(load().names())
    assert len(names) == len(set(names))
    assert {"shards", "detectors.win_rate.unit", "packs.cn_futures.cancels_max"} <= set(names)


def test_packs_are_those_named_or_all_that_need_no_request_and_those_added() -> None:
    assert "surveillance" not in load().packs()
    assert load("packs.added=surveillance").packs() == [*load().packs(), "surveillance"]
    assert load("packs.enabled=source", "packs.added=source,surveillance").packs() == [
        "source",
        "surveillance",
    ]


@pytest.mark.parametrize("key", ["packs.enabled", "packs.added"])
def test_a_pack_that_there_is_not_is_named(key: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{key}: expected a rule pack: .*source.*got surveilance"
    ):
        load(f"{key}=surveilance").packs()
