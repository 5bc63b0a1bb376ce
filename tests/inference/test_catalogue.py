"""What a checkpoint says of itself is read without its weights; its hash when somebody asks."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from napari_uld.errors import CheckpointError
from napari_uld.inference.catalogue import CheckpointInfo, read_info
from napari_uld.inference.checkpoint import load_checkpoint, save_checkpoint

MIB = 2**20
IO = Path("/proc/self/io")


def bytes_read() -> int:
    """How much this process has read by system calls so far."""
    return int(IO.read_text().split()[1])


@pytest.mark.skipif(not IO.exists(), reason="only Linux counts what a process reads")
def test_the_description_is_read_without_the_weights_and_the_hash_with_them(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    recipe = {"method": {"name": "large", "title": "Large"}}
    save_checkpoint(path, torch.nn.Linear(2048, 4096), recipe, {})
    size = path.stat().st_size
    assert size > 16 * MIB
    before = bytes_read()
    info = read_info(path)
    assert (info.name, info.title, info.operating_point) == ("large", "Large", None)
    assert bytes_read() - before < MIB
    assert info.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert info.detector == f"large {info.digest}"


def test_a_hash_that_is_known_needs_no_file() -> None:
    assert CheckpointInfo(Path("nowhere"), "f00", {"method": {"name": "tiny"}}, {}).detector == "tiny f00"


def test_a_checkpoint_that_is_gone_before_its_hash_is_asked_for_is_named(checkpoint: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(checkpoint, tmp_path / "gone.safetensors"))
    info = read_info(path)
    path.unlink()
    with pytest.raises(CheckpointError, match="gone.safetensors"):
        _ = info.digest


def test_a_loaded_detector_keeps_the_hash_of_the_weights_it_was_loaded_with(checkpoint: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(checkpoint, tmp_path / "replaced.safetensors"))
    loaded = load_checkpoint(path, "cpu")
    path.write_bytes(b"a newer one")
    assert loaded.info.digest == hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
