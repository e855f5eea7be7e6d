"""Decide who watches a process, without importing what only a watcher needs."""

from flows.config import Config
from flows.observe.observer import Observer


def log_level(config: Config) -> str:
    """Return from which level on events are written: text is quiet unless asked to speak."""
    level = str(config.value("log.level"))
    if level == "auto":
        return "info" if config.value("log.format") == "json" else "none"
    return level


def open_observer(config: Config, process: int = 0, processes: int = 1) -> Observer:
    """Return who watches this process; nobody, where neither metrics nor logs are wanted.

    Parameters
    ----------
    process
        Index of this process; it listens so many ports above the one that is set.
    processes
        How many there are; the first sees to it that the ports of all are free.

    Raises
    ------
    ConfigError
        If nobody can listen where metrics are to be served.
    """
    level = log_level(config)
    if not config.value("metrics.listen") and level == "none":
        return Observer()
    # A tenth of a second of imports and more, which a run that is not watched need not spend.
    from flows.observe.watching import watch  # noqa: PLC0415 - see above

    return watch(config, level, process, processes)
