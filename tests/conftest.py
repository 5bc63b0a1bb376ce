"""Settings of the whole suite: which tests run, and how they are marked."""

import os

import pytest
from hypothesis import settings

# A build must not fail by luck: there the examples are always the same. Elsewhere new ones are tried every time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A test that asks for one of these, itself or through another fixture, is marked.
MARKS = {"window": {"qapp"}, "trains": {"tiny_recipe", "place"}}


def pytest_configure(config: pytest.Config) -> None:
    """Slow tests run where they are asked for, whatever else is chosen."""
    chosen = config.option.markexpr
    if "slow" not in chosen:
        config.option.markexpr = f"({chosen}) and not slow" if chosen else "not slow"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark tests by what they ask for."""
    for item in items:
        for mark, fixtures in MARKS.items():
            if fixtures & set(item.fixturenames):
                item.add_marker(mark)
