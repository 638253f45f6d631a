"""An ACME server conformance suite that knows the published protocol and a URL, nothing else."""
