"""What a figure was measured on."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from flows import versions
from lab.bench.plot import Chart


def describe() -> dict[str, Any]:
    """Return processor, cores, memory, system and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "versions": versions.installed(),
    }


def commit() -> str:
    """Return the commit of the checkout this runs from; empty where it is none."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607 - git is where people have it
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor()


def report(
    *,
    figures: dict[str, Any],
    ratios: dict[str, Any] | None = None,
    charts: Sequence[Chart] = (),
    seed: int | None = None,
) -> dict[str, Any]:
    """Return a bench's result, with what it was measured on; ``seed`` where anything is random."""
    return {
        "machine": describe(),
        "commit": commit(),
        "seed": seed,
        "figures": figures,
        "ratios": ratios or {},
        "charts": [to_builtins(chart) for chart in charts],
    }
