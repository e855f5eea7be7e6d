"""NDJSON: our own events, one a line; lines go to the scanner as they are."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flows.adapters import AdaptedBlock, AdapterOptions, refuse_accounts, torn_at
from flows.edges.files import FileBlocks


class NdjsonAdapter:
    """The identity."""

    name = "ndjson"
    anonymous = False
    default_calendar = "XSHG"

    def recognises(self, first_bytes: bytes) -> bool:
        """Say whether the first line is an object that has a kind."""
        first_line = first_bytes.lstrip().split(b"\n", 1)[0]
        return first_line.startswith(b"{") and b'"kind"' in first_line

    def adapt(self, path: Path, options: AdapterOptions) -> Iterator[AdaptedBlock]:
        """Yield the file's lines.

        Raises
        ------
        FileProblem
            If the file cannot be read at all.
        ValueError
            If overlay accounts are asked for.
        """
        refuse_accounts(self.name, options)
        line = 0
        with FileBlocks(path, options.block_bytes) as file:
            for block in file.blocks():
                line_count = int(np.count_nonzero(block.raw == ord("\n")))
                line_count += bool(len(block.raw) and block.raw[-1] != ord("\n"))
                origin_lines = np.arange(line, line + line_count, dtype=np.int64)
                line += line_count
                yield AdaptedBlock(block.raw, origin_lines, torn_at(block, line))


ADAPTER = NdjsonAdapter()
