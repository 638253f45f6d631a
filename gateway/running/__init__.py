"""What a gateway needs while it runs: workers, signals, locks, logs, metrics."""
