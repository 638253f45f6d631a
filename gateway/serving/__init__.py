"""Configuration to sites: settings, an opened data directory, what is in force, a running server."""
