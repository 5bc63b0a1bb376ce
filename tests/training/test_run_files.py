"""A run's files that somebody else, or a disk, has changed."""

import zipfile
from pathlib import Path

import pytest
import torch

from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.errors import TrainingError
from napari_uld.training.run_files import STATE_VERSION, read_state


@pytest.mark.parametrize(
    "program",
    [b"\x80\x02K\x01Q.", b"\x80\x02X\x05\x00", b"\x80\x02K\x01K\x02K\x03s."],
    ids=["stored as a number", "cut off", "keys of a number"],
)
def test_a_state_whose_program_is_damaged_is_a_sentence(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "state.pt"
    torch.save({"version": STATE_VERSION}, path)
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as damaged:
        for name, content in parts.items():
            damaged.writestr(name, program if name.endswith("data.pkl") else content)
    with pytest.raises(TrainingError, match="damaged"):
        read_state(path, load_recipe("faster_rcnn", "small"), 0)
