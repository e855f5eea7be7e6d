"""Prove a log sound, or say what is wrong with it, with nothing but Python's own library.

This folder imports nothing else of Tapewatch and can be handed to an auditor alone:
``python -m verify FOLDER``. FOLDER is a log, or a data folder whose ``ledger/`` holds logs.
"""

from .audit import Progress, Report, verify, verify_data
from .fault import AuditError

__all__ = ["AuditError", "Progress", "Report", "verify", "verify_data"]
