"""For every test: property tests judge the code, not how busy the machine is."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "sekisho",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A run of CI is repeatable; at a desk every run tries other values.
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("sekisho")
