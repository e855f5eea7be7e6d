"""The kernel's tables say what the structs say."""

import pytest

from schemas import _scan_fields, _scan_kernels, columns, events, wire


@pytest.mark.parametrize(
    "name",
    [n for n in vars(_scan_fields) if n.isupper() and hasattr(wire, n)]
    + [n for n in vars(_scan_fields) if n.isupper() and hasattr(columns, n)],
)
def test_the_kernels_plain_numbers_are_the_tables(name: str) -> None:
    told = getattr(wire, name, None) if hasattr(wire, name) else getattr(columns, name)
    assert getattr(_scan_fields, name) == told


def test_there_are_plain_numbers_to_compare() -> None:
    names = [n for n in vars(_scan_fields) if n.isupper() and hasattr(wire, n)]
    assert {"STRING", "MONEY", "KEEP_TENANT", "COMPLEX"} <= set(names)
    assert (_scan_kernels.KIND_KEY, _scan_kernels.KIND_SET) == (0, wire.KIND_SET)


@pytest.mark.parametrize("name", [n for n in vars(_scan_kernels) if n.isupper()])
def test_both_kernel_files_use_the_same_numbers(name: str) -> None:
    other = getattr(_scan_fields, name, getattr(_scan_kernels, name))
    assert getattr(_scan_kernels, name) is other or getattr(_scan_kernels, name) == other


def test_kind_is_the_first_key() -> None:
    assert wire.KEYS[_scan_kernels.KIND_KEY] == "kind"


def test_every_mapped_field_and_column_exists() -> None:
    assert set(wire.COLUMN_OF) | set(wire.FLAG_OF) <= set(wire.KEYS)
    assert set(wire.COLUMN_OF.values()) <= set(columns.ROW.names or ())


def test_no_kind_maps_two_fields_to_one_column() -> None:
    for kind, fields in wire.FIELDS.items():
        used = [f.column for f in fields if f.column]
        assert len(used) == len(set(used)), kind


def test_every_name_is_found_by_the_hash() -> None:
    tables = wire.build_tables(anonymous=False)
    names = tables.names
    slots = wire.name_hash(names[:, 0], names[:, 1], names[:, 2], tables.name_factor[0])
    assert (tables.name_slots[slots.astype(int)] == range(1, len(names) + 1)).all()


def test_names_fit_the_kernels_limit() -> None:
    assert max(map(len, (*wire.KEYS, *events.KINDS))) <= 32


def test_anonymous_sources_need_no_account() -> None:
    named = wire.build_tables(anonymous=False).required_counts
    free = wire.build_tables(anonymous=True).required_counts
    assert named[columns.KIND["fill"]] == free[columns.KIND["fill"]] + 1
    assert named[columns.KIND["heartbeat"]] == free[columns.KIND["heartbeat"]]


def test_only_choices_go_to_columns_of_codes() -> None:
    fields = [f for of_kind in wire.FIELDS.values() for f in of_kind]
    coded = {f.value_type for f in fields if f.column in wire.CODES_OF_COLUMN}
    assert coded == {wire.CHOICE}
