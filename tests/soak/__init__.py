"""Long runs, by ``make soak``; no part of ``make test``."""
