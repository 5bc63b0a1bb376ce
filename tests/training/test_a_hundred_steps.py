"""Every recipe's small version learns on phantoms: a hundred steps of its whole training, data to checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.detectors.specs.recipe import load_recipe, recipe_names
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms
from napari_uld.training.loop import TrainingOptions, train
from napari_uld.training.run_files import LOG, read_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 100
# Patients by the phases of their studies; with this seed eight fall into all three splits.
PATIENTS, SEED = {1: 24, 3: 8}, 3
# A rescorer looks at what a trained detector finds, see test_rescorer.py.
TRAINED_FROM_NOTHING = [name for name in recipe_names() if load_recipe(name, "small").rescorer is None]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Phantoms by the phases that their studies have."""
    folder = tmp_path_factory.mktemp("phantoms")
    return {n: finish(generate_phantoms(folder / str(n), patients, SEED, phases=n)) for n, patients in PATIENTS.items()}


@pytest.mark.parametrize("name", TRAINED_FROM_NOTHING)
def test_the_sum_of_a_small_versions_losses_falls_in_a_hundred_steps(
    name: str, sets: dict[int, Path], tmp_path: Path
) -> None:
    recipe = load_recipe(name, "small")
    # The rate does not drop within these steps, and their end alone is validated.
    changes = {"steps": STEPS, "milestones": (), "plateau": None, "patience": None, "validate_every": STEPS}
    training = recipe.training.model_copy(update=changes)
    data = sets[max(len(recipe.input.phases), 1)]
    options = TrainingOptions(data, tmp_path, device="cpu", from_scratch=True)
    checkpoint = finish(train(recipe.model_copy(update={"training": training}), options))
    totals = [sum(row["losses"].values()) for row in read_log(tmp_path / LOG) if row["event"] == "step"]
    assert len(totals) == STEPS // 10
    assert np.mean(totals[-3:]) < np.mean(totals[:3]), totals
    assert load_checkpoint(checkpoint, "cpu").info.recipe["method"]["name"] == name
