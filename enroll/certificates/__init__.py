"""Certificates as operators look at them: the list of all, each with its history, and how they end."""
