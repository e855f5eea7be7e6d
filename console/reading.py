"""Settings from a command's options."""

from collections.abc import Sequence
from pathlib import Path

from detectors.core.registry import params_types
from flows.config import Config, load


def read_config(data: Path | None, flags: Sequence[str] | None, config_file: Path | None) -> Config:
    """Read all settings, those of detectors too."""
    options = {"data": None if data is None else str(data)}
    return load(flags or (), options, config_file, detectors=params_types())
