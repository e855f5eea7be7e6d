"""What can go wrong with a ledger, each a sentence that says what to do next."""


class LedgerError(Exception):
    """Any refusal or failure of the ledger."""


class LedgerBusy(LedgerError):  # noqa: N818 - a state the caller waits out, named as people say it
    """Another process is writing this log."""


class LedgerDamaged(LedgerError):  # noqa: N818 - names what was found
    """What is on disk contradicts itself."""


class LedgerRolledBack(LedgerDamaged):
    """The log is older than something that was derived from it."""


class LedgerLost(LedgerError):  # noqa: N818 - names what happened to the writer
    """The writer no longer knows what is durable; only a restart can tell."""
