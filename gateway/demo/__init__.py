"""A sandbox with made-up people, their mails and a clock that visitors move. Loopback only."""
