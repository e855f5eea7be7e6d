"""The embedded store: alerts, episodes, notices and dead letters."""
