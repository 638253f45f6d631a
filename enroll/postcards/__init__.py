"""Postcards (はがき): laid out, drawn as PDF, and printed in batches, each card counted once."""
