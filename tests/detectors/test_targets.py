"""Targets carry what the supervision asks for, and nothing else."""

import numpy as np
import pytest
import torch

from napari_uld.detectors.specs.family import TargetMaps
from napari_uld.detectors.specs.two_stage import TwoStageSupervision
from napari_uld.detectors.targets import cut_off, make_target
from napari_uld.masks.bounding_map import AREA_UNIT, bounding_map

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
        (TwoStageSupervision(roi_branch="bm", branch_map="matched"), {"bm", "lesion_bms"}),
        (TwoStageSupervision(roi_branch="abm", branch_map="matched"), {"abm", "lesion_abms"}),
    ],
)
def test_only_the_maps_asked_for_are_made(supervision: TwoStageSupervision, maps: set[str]) -> None:
    assert (
        set(make_target(BOXES, ONE, None, (40, 50), maps=supervision.maps, pixel_area=AREA_UNIT))
        == {"boxes", "labels"} | maps
    )


def test_the_abm_counts_areas_in_pixels_of_8_tenths_of_a_millimetre() -> None:
    target = make_target(BOXES, ONE, None, (40, 50), maps=BMC.maps, pixel_area=1.6**2)
    assert target["bm"].shape == (40, 50)
    # 20 x 10 px of 1.6 mm are 800 px^2 of .8 mm: between 250 and 1000, so the ABM is the BM.
    assert torch.equal(target["abm"], target["bm"])
    # Of .8 mm they are 200: small, so the ABM is flat.
    flat = make_target(BOXES, ONE, None, (40, 50), maps=BMC.maps, pixel_area=AREA_UNIT)["abm"]
    assert set(flat.unique().tolist()) == {0.0, 1.0}


def test_a_map_stands_on_the_pixels_of_its_edge_based_box() -> None:
    # Pixels 10 to 29 and 10 to 19, whose middle lies between 19 and 20, and between 14 and 15.
    bm = make_target(BOXES, ONE, None, (40, 50), maps=BMC.maps, pixel_area=AREA_UNIT)["bm"]
    rows, columns = torch.nonzero(bm, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 10, 29)
    assert torch.allclose(bm, bm.flip(0).roll(-10, 0), atol=1e-6)
    assert torch.allclose(bm, bm.flip(1).roll(-10, 1), atol=1e-6)
    assert bm.max() == bm[14, 19]


def test_labels_and_masks_are_passed_on() -> None:
    boxes = np.array([[0.0, 0, 4, 4], [5.0, 5, 9, 9]])
    masks = np.zeros((2, 10, 10), np.uint8)
    masks[1, 6:8, 6:8] = 1
    target = make_target(boxes, np.array([1, 2]), masks, (10, 10), maps=TargetMaps(), pixel_area=AREA_UNIT)
    assert target["labels"].tolist() == [1, 2]
    assert target["labels"].dtype == torch.int64
    assert target["boxes"].dtype == torch.float32
    assert target["masks"].sum(dim=(1, 2)).tolist() == [0, 4]


def test_without_a_lesion_there_are_empty_maps() -> None:
    target = make_target(np.zeros((0, 4)), np.zeros(0), None, (8, 8), maps=BMC.maps, pixel_area=AREA_UNIT)
    assert target["boxes"].shape == (0, 4)
    assert target["lesion_bms"].shape == (0, 8, 8)
    assert target["bm"].sum() == target["abm"].sum() == 0


def test_each_lesions_maps_are_made_of_it_alone_and_their_abm_by_its_own_area() -> None:
    boxes = np.array([[2.0, 2, 12, 12], [8.0, 8, 38, 38]])
    names = frozenset({"bm", "abm", "lesion_bms", "lesion_abms"})
    target = make_target(boxes, np.ones(2), None, (40, 40), maps=TargetMaps(names), pixel_area=AREA_UNIT)
    for row, box in enumerate(boxes):
        alone = make_target(box[None], np.ones(1), None, (40, 40), maps=TargetMaps(names), pixel_area=AREA_UNIT)
        assert torch.allclose(target["lesion_bms"][row], alone["bm"], atol=1e-6)
        assert torch.allclose(target["lesion_abms"][row], alone["abm"], atol=1e-6)
    # 100 px^2 is small: flat within its box. 900 px^2 lies between the two thresholds: its BM.
    assert set(target["lesion_abms"][0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(target["lesion_abms"][1], target["lesion_bms"][1])


def test_lesions_maps_are_joined_as_the_supervision_says_and_by_its_areas() -> None:
    boxes = np.array([[2.0, 2, 22, 22], [8.0, 8, 28, 28]])

    joined = {}
    for combine in ("sum", "max"):
        maps = TargetMaps(frozenset({"bm"}), combine=combine)  # type: ignore[arg-type]
        joined[combine] = make_target(boxes, np.ones(2), None, (40, 40), maps=maps, pixel_area=AREA_UNIT)["bm"]
        expected = bounding_map(boxes - 0.5, (40, 40), combine=combine)  # type: ignore[arg-type]
        assert np.array_equal(joined[combine], expected)
    assert (joined["sum"] > joined["max"] + 0.1).any()
    small = TargetMaps(frozenset({"abm"}), areas=(500.0, 1000.0))
    flat = make_target(boxes[:1], np.ones(1), None, (40, 40), maps=small, pixel_area=AREA_UNIT)["abm"]
    assert set(flat.unique().tolist()) == {0.0, 1.0}, "400 px^2 is small where 500 is asked for"


def test_boxes_are_cut_off_at_the_border_and_dropped_outside_it() -> None:
    boxes = np.array([[-5.0, 2, 10, 8], [60, 0, 70, 10], [30, 30, 40, 40]])
    cut, kept = cut_off(boxes, (35, 50))
    assert cut.tolist() == [[0, 2, 10, 8], [30, 30, 40, 35]]
    assert kept.tolist() == [True, False, True]


def test_3d_boxes_are_cut_off_along_all_three_axes() -> None:
    boxes = np.array([[-5.0, 2, -1, 10, 8, 3], [1, 1, 6, 4, 4, 9], [30, 30, 2, 60, 40, 9]])
    cut, kept = cut_off(boxes, (6, 35, 50))
    assert cut.tolist() == [[0, 2, 0, 10, 8, 3], [30, 30, 2, 50, 35, 6]]
    assert kept.tolist() == [True, False, True]
