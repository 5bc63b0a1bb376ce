"""Settings of the whole suite: which tests run, and how they are marked."""

import contextlib
import os

# Networks in miniature are no faster on more threads, and far slower where other programs want the cores as well.
# Set before torch is imported; the detector's processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A build must not fail by luck: there the examples are always the same. Elsewhere new ones are tried every time.
# How long one takes says how busy the machine is.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("elsewhere", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "elsewhere")

# What marks a test: a fixture that it asks for, itself or through another one, or a function that it calls.
MARKS = {"window": {"qapp"}, "trains": {"tiny_recipe", "place", "trained", "train", "bundled_checkpoints"}}


def pytest_configure(config: pytest.Config) -> None:
    """Slow tests run where they are asked for, whatever else is chosen."""
    chosen = config.option.markexpr
    if "slow" not in chosen:
        config.option.markexpr = f"({chosen}) and not slow" if chosen else "not slow"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark tests by what they ask for and what they call."""
    for item in items:
        names = {*item.fixturenames, *item.function.__code__.co_names}
        for mark, marking in MARKS.items():
            if marking & names:
                item.add_marker(mark)
    if any(item.get_closest_marker("window") for item in items):
        load_triton()


def load_triton() -> None:
    """Load triton's LLVM before the first window loads Mesa's.

    Software OpenGL opens its library for all that come after it to take names from. Triton, which torchvision imports,
    would take thousands of functions of another LLVM version for its own, and end the process. The product is spared:
    its windows never import torch.
    """
    with contextlib.suppress(ImportError):  # torch has it on Linux alone
        import triton  # noqa: F401
