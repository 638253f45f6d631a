"""Two nodes, a primary and a replica, and everything that goes wrong with them, by ``make chaos``."""
