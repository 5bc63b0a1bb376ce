"""A detector small enough to run in a moment, as a checkpoint file."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from napari_uld.detectors.build import build_detector
    from napari_uld.detectors.specs.recipe import load_recipe
    from napari_uld.inference.checkpoint import save_checkpoint

    recipe = load_recipe("faster_rcnn_bmc", "small")
    recipe = recipe.model_copy(update={"detector": recipe.detector.model_copy(update={"width": 0.125})})
    torch.manual_seed(0)
    model = build_detector(recipe)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, model, recipe.model_dump(mode="json"), {"average": 0.5})
    return path


@pytest.fixture
def volume() -> CTVolume:
    rng = np.random.default_rng(0)
    return CTVolume(
        hu=rng.normal(0, 30, (6, 96, 96)).astype(np.int16),
        spacing=(5.0, 1.6, 1.6),
        source=Path("scan"),
        name="scan",
        slice_numbers=np.arange(16, 10, -1),
    )
