"""The ground: keys, certificates, revocation, trust. No HTTP, no people."""
