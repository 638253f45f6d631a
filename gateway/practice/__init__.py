"""The practice statement (CP/CPS, RFC 3647): its templates, and their figures out of a data directory."""
