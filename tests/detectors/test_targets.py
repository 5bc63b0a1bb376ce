"""Targets carry what the supervision asks for, and nothing else."""

import numpy as np
import pytest
import torch

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.two_stage import TwoStageSupervision
from napari_uld.training.data.targets import make_target

BOXES = np.array([[10.0, 10, 30, 20]])
ONE = np.array([1])
BMC = TwoStageSupervision(objectness="bmc", regression="bmc", roi_branch="abm")


@pytest.mark.parametrize(
    ("supervision", "maps"),
    [
        (TwoStageSupervision(), set()),
        (BMC, {"bm", "lesion_bms", "abm"}),
        (TwoStageSupervision(objectness="bm"), {"bm"}),
        (TwoStageSupervision(roi_branch="bm"), {"bm"}),
        (TwoStageSupervision(regression="bmc"), {"lesion_bms"}),
    ],
)
def test_only_the_maps_asked_for_are_made(supervision: TwoStageSupervision, maps: set[str]) -> None:
    assert set(make_target(BOXES, ONE, None, (40, 50), InputSpec(), supervision)) == {"boxes", "labels"} | maps


def test_the_abm_counts_areas_as_in_an_input_of_512_px() -> None:
    target = make_target(BOXES, ONE, None, (40, 50), InputSpec(long_side=256), BMC)
    assert target["bm"].shape == (40, 50)
    # 20 x 10 px at 256 px is 800 px^2 at 512 px: between 250 and 1000, so the ABM is the BM.
    assert torch.equal(target["abm"], target["bm"])
    # At 512 px it is 200 px^2: small, so the ABM is flat.
    flat = make_target(BOXES, ONE, None, (40, 50), InputSpec(), BMC)["abm"]
    assert set(flat.unique().tolist()) == {0.0, 1.0}


def test_a_map_stands_on_the_pixels_of_its_edge_based_box() -> None:
    # Pixels 10 to 29 and 10 to 19, whose middle lies between 19 and 20, and between 14 and 15.
    bm = make_target(BOXES, ONE, None, (40, 50), InputSpec(), BMC)["bm"]
    rows, columns = torch.nonzero(bm, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 10, 29)
    assert torch.allclose(bm, bm.flip(0).roll(-10, 0), atol=1e-6)
    assert torch.allclose(bm, bm.flip(1).roll(-10, 1), atol=1e-6)
    assert bm.max() == bm[14, 19]


def test_labels_and_masks_are_passed_on() -> None:
    boxes = np.array([[0.0, 0, 4, 4], [5.0, 5, 9, 9]])
    masks = np.zeros((2, 10, 10), np.uint8)
    masks[1, 6:8, 6:8] = 1
    target = make_target(
        boxes, np.array([1, 2]), masks, (10, 10), InputSpec(), TwoStageSupervision(roi_branch="ellipse")
    )
    assert target["labels"].tolist() == [1, 2]
    assert target["labels"].dtype == torch.int64
    assert target["boxes"].dtype == torch.float32
    assert target["masks"].sum(dim=(1, 2)).tolist() == [0, 4]


def test_without_a_lesion_there_are_empty_maps() -> None:
    target = make_target(np.zeros((0, 4)), np.zeros(0), None, (8, 8), InputSpec(), BMC)
    assert target["boxes"].shape == (0, 4)
    assert target["lesion_bms"].shape == (0, 8, 8)
    assert target["bm"].sum() == target["abm"].sum() == 0
