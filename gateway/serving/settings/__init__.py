"""The sections of the configuration file, a file for each group; `serving/config.py` has the whole."""
