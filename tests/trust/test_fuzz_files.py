"""Damaged small files are read or refused: a few here, as many as there is time for by the command."""

import os
import random

import pytest

from .fuzz_files import damaged, faults, fuzz


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork to survive a crash")
def test_damaged_files_are_read_or_refused_with_a_typed_error() -> None:
    counts = fuzz(3, 0)
    assert counts.total() >= 100
    assert not faults(counts)


def test_the_same_seed_damages_in_the_same_way() -> None:
    first, second = (damaged(b"some words of a file", random.Random(5)) for _ in range(2))
    assert first == second
