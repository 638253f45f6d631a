"""Tests of the sites; `kit` visits them as a browser would, `members` are the users of the online service."""
