"""What is said: events, columns, reasons, alerts, audit entries and settings."""
