"""The store: what people look up. Alerts, notices, dead letters and counts, in one SQLite file.

The ledger is the proof and the store its readable copy: every row is written by key, so writing
the same rows again after a crash changes nothing.
"""

from flows.store.base import Page
from flows.store.reader import AlertFilter, StoreReader
from flows.store.rows import (
    AlertRow,
    AlertUpdateRow,
    CountRow,
    DeadLetterGroup,
    DeadLetterRow,
    EpisodeRow,
    HeadroomRow,
    NoticeRow,
    RunSummaryRow,
    StoreBatch,
    dead_letter_id,
)
from flows.store.schema import StoreError
from flows.store.writer import Store

__all__ = [
    "AlertFilter",
    "AlertRow",
    "AlertUpdateRow",
    "CountRow",
    "DeadLetterGroup",
    "DeadLetterRow",
    "EpisodeRow",
    "HeadroomRow",
    "NoticeRow",
    "Page",
    "RunSummaryRow",
    "Store",
    "StoreBatch",
    "StoreError",
    "StoreReader",
    "dead_letter_id",
]
