"""What a gateway needs while it runs: workers, reload, logs, metrics. Imported by `gateway.server` alone."""
