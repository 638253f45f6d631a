"""The sites behind the gate, one folder each: handlers, templates and words in one place."""
