"""What the sites share: pages and words, sessions, reference numbers, calendars, the visitor's browser."""
