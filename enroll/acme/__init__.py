"""The enrollment protocol: ACME (RFC 8555) for client certificates, authorised without a challenge."""
