"""Verify from the command line: ``python -m ledger.verify FOLDER [--json]``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from .audit import Report, verify, verify_data
from .fault import AuditError

EXIT_SOUND: Final = 0
EXIT_INTEGRITY: Final = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the log or logs in a folder; return 0 if all are sound, else 5."""
    parser = argparse.ArgumentParser(prog="verify", description="Verify a Tapewatch ledger.")
    parser.add_argument("folder", type=Path, help="a log's folder, or a data folder with ledger/")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    reports: list[Report] = []
    fault = None
    try:
        if options.folder.joinpath("ledger").is_dir():
            reports = verify_data(options.folder)
        else:
            reports = [verify(options.folder)]
    except AuditError as error:
        fault = error
    lines = _as_json(reports, fault) if options.json else _as_sentences(reports, fault)
    sys.stdout.write(lines.encode(errors="backslashreplace").decode())
    return EXIT_INTEGRITY if fault else EXIT_SOUND


def _as_json(reports: Sequence[Report], fault: AuditError | None) -> str:
    told = {
        "verdict": "damaged" if fault else "sound",
        "logs": [asdict(report) for report in reports],
        "fault": {"where": fault.where, "sentence": fault.sentence} if fault else None,
    }
    return json.dumps(told) + "\n"


def _as_sentences(reports: Sequence[Report], fault: AuditError | None) -> str:
    lines = [
        f"{report.origin} is sound: {report.size} entries, root {report.head},"
        f" {report.staged} of them not yet in files.\n"
        for report in reports
    ]
    return "".join(lines) + (f"NOT SOUND. {fault}\n" if fault else "")


if __name__ == "__main__":
    sys.exit(main())
