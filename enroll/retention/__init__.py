"""How long what is personal is kept: `periods.py` is the table, `erasing.py` takes away what is over."""
