import msgspec
import pytest

from schemas import settings
from schemas.settings import SETTINGS, Setting


def test_names_are_unique() -> None:
    assert len(settings.BY_NAME) == len(SETTINGS)


def test_no_name_is_the_beginning_of_another() -> None:
    """A TOML key cannot be a value and a table at once."""
    for name in settings.BY_NAME:
        assert not any(other.startswith(name + ".") for other in settings.BY_NAME)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_of_its_type_and_inside_its_bounds(setting: Setting) -> None:
    assert msgspec.convert(setting.default, setting.value_type) == setting.default
    assert setting.minimum is None or setting.minimum <= setting.default
    assert setting.maximum is None or setting.default <= setting.maximum


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_says_its_unit_and_why(setting: Setting) -> None:
    assert setting.unit
    assert setting.why.endswith(".")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_number_has_both_bounds(setting: Setting) -> None:
    is_number = setting.value_type in {int, float}
    assert is_number == (setting.minimum is not None) == (setting.maximum is not None)
