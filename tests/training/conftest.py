"""A few phantoms, and a recipe small enough to train in seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms

# With this seed, patients of eight fall into all three splits.
PATIENTS, SEED = 8, 3


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms") / "set"
    return finish(generate_phantoms(root, PATIENTS, SEED))


@pytest.fixture(scope="session")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, one to validate on and one to train on, in three contrast phases each."""
    return finish(generate_phantoms(tmp_path_factory.mktemp("phases") / "set", 2, SEED, phases=3))


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    """The small recipe, smaller still; keyword arguments change its [training]."""

    def make(name: str = "faster_rcnn_bmc", **training: object) -> Recipe:
        recipe = load_recipe(name, "small")
        sizes = (2, 4, 8) if recipe.detector.backbone == "vgg" else (2, 4, 8, 16, 32)
        changes = {
            "input": {"long_side": 64, "spacing_mm": 6.4},
            "detector": {"width": 0.125, "rpn_min_size": 1, "anchor_sizes": sizes, "proposals_after_nms": (50, 50)},
            "training": {"epochs": 2, "milestones": (1,), "warmup_steps": 0, **training},
        }
        return recipe.model_copy(
            update={key: getattr(recipe, key).model_copy(update=value) for key, value in changes.items()}
        )

    return make
