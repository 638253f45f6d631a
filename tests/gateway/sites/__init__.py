"""Tests of the sites; `kit` visits them as a browser would."""
