"""Generations of issuing CAs: what each may do at a moment, as a table, and its statements."""
