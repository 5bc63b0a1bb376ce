"""Settings of the whole suite."""

import os

from hypothesis import settings

# A build must not fail by luck: there the examples are always the same. Elsewhere new ones are tried every time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
