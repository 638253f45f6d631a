"""The checkpoint: TLS, sites, sessions and the proxy in front of the service."""
