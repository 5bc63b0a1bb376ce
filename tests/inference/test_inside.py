"""What teaches a detector on a slice, and what it sees there."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.anchors import CentredAnchorGenerator
from napari_uld.detectors.batch import pad_maps
from napari_uld.detectors.build import build_detector, build_two_stage
from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.one_stage import RetinaNetSpec, RetinaNetSupervision
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.specs.system import System
from napari_uld.detectors.specs.two_stage import TwoStageSpec, TwoStageSupervision
from napari_uld.detectors.targets import make_target
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import SCORE_FLOOR
from napari_uld.inference.inside import look_inside, look_inside_recipe, padded_size, positive_anchors
from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.inference.slabs import Slab, extract_slab
from napari_uld.lesions.axis_map import AxisMap

# A crop that begins at native pixel (10, 20), at half the resolution.
SLAB = Slab(np.zeros((3, 64, 64), np.float32), AxisMap((10, 20), (0.5, 0.5)), (5.0, 1.0, 1.0), ())
NONE = np.zeros((0, 4))


def cells_of_4_px(supervision: TwoStageSupervision) -> Detector:
    """One anchor of 16 px on each cell; no value is asked of any weight."""
    detector = TwoStageSpec(width=0.125, without_pools=(3, 4), anchor_sizes=(16,), anchor_ratios=(1,))
    with torch.device("meta"):
        return build_two_stage(detector, supervision, InputSpec())


def positives_of(lesions: np.ndarray, supervision: TwoStageSupervision | None = None) -> dict[str, PositiveAnchors]:
    """The anchors of `SLAB` that each rule makes positive."""
    supervision = supervision or TwoStageSupervision()
    return positive_anchors(cells_of_4_px(supervision), SLAB, lesions, supervision)


@pytest.fixture
def body(volume: CTVolume) -> CTVolume:
    """A body that leaves 30 columns of air on its left and 16 rows above it."""
    hu = volume.hu.copy()
    hu[:, :16] = hu[:, :, :30] = -1000
    return replace(volume, hu=hu)


@pytest.fixture
def detector(checkpoint: Path) -> LoadedDetector:
    return load_checkpoint(checkpoint, "cpu")


def native(*boxes: list[float]) -> np.ndarray:
    return SLAB.axes.to_native(np.array(boxes, dtype=np.float64))


def test_an_anchor_that_fits_is_positive_by_iou_and_its_four_neighbours_by_the_lower_threshold_too() -> None:
    # The anchor on cell (4, 4). Moved by one cell it shares 12 * 16 px: 192 / 320 = .6; by one each way .39.
    lesion = native([10, 10, 26, 26])
    found = positives_of(lesion)
    assert_allclose(found[Rule.IOU].boxes, lesion)
    assert found[Rule.IOU].labels.tolist() == [1]
    expected = native([10, 6, 26, 22], [6, 10, 22, 26], [10, 10, 26, 26], [14, 10, 30, 26], [10, 14, 26, 30])
    assert_allclose(found[Rule.BM].boxes, expected)
    # The lesion's centre is 18, the pixel that holds it has its own at 18.5; one cell beside it 14.5 and 22.5.
    middle, before, behind = 1 - 0.5 / 16, 1 - 3.5 / 16, 1 - 4.5 / 16
    expected = np.sqrt([before * middle, before * middle, middle**2, behind * middle, behind * middle])
    assert_allclose(found[Rule.BM].labels, expected, atol=1e-6)


def test_by_bmc_every_cell_within_the_map_is_positive_and_none_that_only_touches_it() -> None:
    found = positives_of(native([12, 12, 28, 28]))[Rule.BMC]
    # The box covers the 4 x 4 cells from 12 to 28; at 16 cells of area a value of .25 is enough.
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    inner = {(c, r) for c in (14, 18, 22, 26) for r in (14, 18, 22, 26)}
    expected = SLAB.axes.to_native(np.array([[x, y, x, y] for x, y in sorted(inner)], dtype=float))[:, :2]
    assert {tuple(c) for c in centres} >= {tuple(c) for c in expected}
    low, high = SLAB.axes.to_native(np.array([[8.0, 8, 32, 32]]))[0].reshape(2, 2)
    assert ((centres > low) & (centres < high)).all()
    assert found.labels.min() >= 0.25 - 1e-6
    assert found.labels.max() < 1


def test_below_the_threshold_the_best_anchor_is_positive_all_the_same() -> None:
    # 10 px in the middle of the anchor on cell (4, 4): IoU 100 / 256 = .39; the next one leaves a pixel out.
    found = positives_of(native([13, 13, 23, 23]))
    for rule in (Rule.IOU, Rule.BM):
        assert_allclose(found[rule].boxes, native([10, 10, 26, 26]))


def test_a_rule_that_the_supervision_follows_has_its_threshold_and_the_others_the_published_one() -> None:
    lesion = native([10, 10, 26, 26])

    def counts(supervision: TwoStageSupervision) -> list[int]:
        found = positives_of(lesion, supervision)
        return [len(found[rule].boxes) for rule in (Rule.IOU, Rule.BM)]

    assert counts(TwoStageSupervision(rpn_iou=(0.35, 0.3))) == [9, 5]
    assert counts(TwoStageSupervision(objectness="bm", rpn_iou=(0.35, 0.3))) == [1, 9]
    assert counts(TwoStageSupervision(objectness="bmc", rpn_iou=(0.35, 0.3))) == [1, 5]


def test_every_anchor_knows_its_lesion_and_one_beyond_the_crop_has_none() -> None:
    lesions = native([34, 34, 50, 50], [-40, 0, -20, 20], [10, 10, 26, 26])
    for found in positives_of(lesions).values():
        assert set(found.lesions.tolist()) == {0, 2}
        of_anchor = lesions[found.lesions]
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        assert (np.abs(centres - (of_anchor[:, :2] + of_anchor[:, 2:]) / 2) < 24).all()


def test_without_a_lesion_no_anchor_is_positive() -> None:
    found = positives_of(NONE)
    assert [anchors.boxes.shape for anchors in found.values()] == [(0, 4)] * 3


def test_anchors_are_where_the_network_has_them(detector: LoadedDetector, volume: CTVolume) -> None:
    slab = extract_slab(volume.hu, volume.spacing, 3, detector.inputs)
    made: list[list[Tensor]] = []
    generator = detector.model.proposals.anchor_generator
    generator.register_forward_hook(lambda _m, _i, output: made.append(output))
    list(candidates([slab], detector))
    grid = detector.model.proposals.grid(padded_size(detector.model, slab))
    assert torch.equal(made[0][0], grid.anchors)
    assert detector.model.grid_size(padded_size(detector.model, slab)) == grid.grid_size
    assert sum(h * w for h, w in grid.levels) * grid.per_cell == len(grid.anchors)


def test_bmcs_anchors_are_those_that_training_learns_boxes_on(detector: LoadedDetector, body: CTVolume) -> None:
    lesions = np.array([[40.0, 40, 55, 55], [60, 30, 66, 38]])
    slab = extract_slab(body.hu, body.spacing, 3, detector.inputs)
    edges, size = slab.axes.to_network(lesions), (slab.hu.shape[1], slab.hu.shape[2])
    supervision = TwoStageSupervision(**detector.info.recipe["supervision"])
    target = make_target(edges, np.ones(2), None, size, maps=supervision.maps, pixel_area=slab.pixel_area)
    padded, proposals = padded_size(detector.model, slab), detector.model.proposals
    grid, target = proposals.grid(padded), pad_maps(target, padded)
    learnt = proposals.regression(grid, target, proposals.assigner.match(grid, target))
    found = look_inside(body, 3, lesions, detector)
    assert len(learnt.anchors) > 0
    assert_allclose(
        found.anchors[Rule.BMC].boxes, slab.axes.to_native(grid.anchors[learnt.anchors].numpy().astype(float))
    )
    assert found.per_lesion(Rule.BMC).tolist() == [int((learnt.lesions == lesion).sum()) for lesion in (0, 1)]


@pytest.mark.parametrize(("name", "levels"), [("faster_rcnn", 1), ("mask_rcnn", 5)])
def test_a_recipe_shows_anchors_on_its_levels_and_no_maps(volume: CTVolume, name: str, levels: int) -> None:
    recipe = load_recipe(name)
    # At 1.6 mm a native pixel is two of the network's: a lesion 24 mm wide.
    lesion = np.array([[40.0, 40, 55, 55]])
    found = look_inside_recipe(volume, 3, lesion, recipe)
    assert not found.one_stage
    assert found.objectness is None
    assert found.branch is None
    assert len(found.boxes) == 0
    # 192 px long: 24 cells at stride 8; 48, 24, 12, 6 and 3 from stride 4 on.
    assert found.cells == (24**2 if levels == 1 else 48**2 + 24**2 + 12**2 + 6**2 + 3**2)
    assert found.per_cell == (15 if levels == 1 else 3)
    assert found.anchors[Rule.BMC].levels.max() == levels - 1
    (by_iou,), (by_bmc,) = found.per_lesion(Rule.IOU), found.per_lesion(Rule.BMC)
    assert 0 < by_iou < by_bmc == len(found.anchors[Rule.BMC].boxes)


class OneCell(nn.Module):
    """A proposal head that is sure of one cell alone, for the last of its anchors."""

    def __init__(self, row: int, column: int, anchors: int) -> None:
        super().__init__()
        self.row, self.column, self.anchors = row, column, anchors

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        (level,) = features
        logits = level.new_full((1, self.anchors, *level.shape[-2:]), -20)
        logits[0, -1, self.row, self.column] = 20
        return [logits], [level.new_zeros((1, 4 * self.anchors, *level.shape[-2:]))]


def test_objectness_lies_on_the_slice_where_the_networks_cell_does(body: CTVolume, detector: LoadedDetector) -> None:
    slab = extract_slab(body.hu, body.spacing, 3, detector.inputs)
    assert slab.axes.offset[0] > 0
    detector.model.proposals.head = OneCell(2, 3, detector.model.grid_size((64, 64)).per_cell)  # type: ignore[assignment]
    found = look_inside(body, 3, NONE, detector)
    assert found.objectness is not None
    assert found.objectness.shape == (96, 96)
    (stride,) = detector.model.strides
    x1, y1, x2, y2 = slab.axes.to_native(np.array([[3, 2, 4, 3]], dtype=float) * stride)[0]
    row, column = np.unravel_index(found.objectness.argmax(), found.objectness.shape)
    assert x1 <= column <= x2
    assert y1 <= row <= y2
    # Two cells away nothing of it is left.
    far = found.objectness.copy()
    far[int(y1 - (y2 - y1)) : int(y2 + (y2 - y1)) + 2, int(x1 - (x2 - x1)) : int(x2 + (x2 - x1)) + 2] = 0
    assert far.max() < 1e-6


def test_objectness_is_0_beyond_the_crop_and_a_share_within_it(body: CTVolume, detector: LoadedDetector) -> None:
    found = look_inside(body, 3, NONE, detector)
    left, top = extract_slab(body.hu, body.spacing, 3, detector.inputs).axes.offset
    assert found.objectness is not None
    assert not found.objectness[:top].any()
    assert not found.objectness[:, :left].any()
    inside = found.objectness[top:, left:]
    assert 0 < inside.min() < inside.max() < 1


@pytest.fixture
def seen(body: CTVolume, detector: LoadedDetector) -> Inside:
    return look_inside(body, 3, NONE, detector)


def test_the_branch_draws_on_its_detections_alone(seen: Inside) -> None:
    assert seen.branch is not None
    assert len(seen.boxes) > 0
    assert (seen.scores >= SCORE_FLOOR).all()
    covered = np.zeros((96, 96), bool)
    for x1, y1, x2, y2 in seen.boxes:
        covered[int(np.ceil(y1)) : int(y2) + 1, int(np.ceil(x1)) : int(x2) + 1] = True
    assert (seen.branch[covered] > 0).all()
    assert not seen.branch[~covered].any()


def test_the_detector_is_left_as_it_was(body: CTVolume, detector: LoadedDetector) -> None:
    look_inside(body, 3, NONE, detector)
    assert not detector.model.predicts_maps
    assert len(detector.model.proposals.head._forward_hooks) == 0


def test_where_a_detector_takes_the_slice_to_lie_and_what_its_gate_lets_through_is_told(body: CTVolume) -> None:
    recipe = load_recipe("mvp_3", "small")
    torch.manual_seed(0)
    model = build_detector(recipe).eval()
    model.auxiliary["position"].position.bias.data.fill_(0.3)  # type: ignore[attr-defined]
    info = CheckpointInfo(Path("tiny"), "0", recipe.model_dump(mode="json"), {})
    found = look_inside(body, 3, NONE, LoadedDetector(model, recipe.input, info, torch.device("cpu")))
    assert found.position == pytest.approx(0.3, abs=0.05)
    assert found.position != 0.3, "what it sees counts too"
    # A fresh gate is all but half open; what it sees makes windows differ.
    assert tuple(found.windows) == recipe.input.windows
    assert all(share == pytest.approx(0.5, abs=0.3) for share in found.windows.values())
    assert len(set(found.windows.values())) == len(recipe.input.windows)


def test_a_detector_without_such_parts_tells_neither(body: CTVolume, detector: LoadedDetector) -> None:
    found = look_inside(body, 3, NONE, detector)
    assert found.position is None
    assert not found.windows


@pytest.fixture
def one_stage() -> LoadedDetector:
    """A RetinaNet with a segmentation path and gates, fresh, on the bodies that `detector` sees."""
    system = System(
        input=load_recipe("faster_rcnn", "small").input,
        detector=RetinaNetSpec(
            family="retinanet",
            norm="batch",
            convolutions=(1, 1, 1, 1, 1),
            width=0.125,
            pyramid_channels=8,
            finest_level=2,
            head_layers=1,
            head_channels=8,
            attention_gates=True,
        ),
        supervision=RetinaNetSupervision(family="retinanet", segmentation="grabcut"),
    )
    torch.manual_seed(0)
    model = build_detector(system).eval()
    recipe = system.model_dump(mode="json") | {"method": {"name": "tiny", "title": "tiny"}}
    return LoadedDetector(model, system.input, CheckpointInfo(Path("tiny"), "0", recipe, {}), torch.device("cpu"))


def test_a_one_stage_detector_shows_what_its_path_draws_and_its_gates_let_through(
    body: CTVolume, one_stage: LoadedDetector
) -> None:
    found = look_inside(body, 3, NONE, one_stage)
    assert found.branch is not None
    assert set(found.attention) == {"C4", "C3", "C2", "C1", "input"}
    for values in (found.branch, found.objectness, *found.attention.values()):
        assert values is not None
        assert values.shape == body.shape[1:]
        assert (values[60, 60] > 0, values[2, 2]) == (True, 0), "the crop begins further to the right and below"


def test_a_one_stage_detector_has_one_rule_and_no_anchor_is_forced(body: CTVolume, one_stage: LoadedDetector) -> None:
    lesions = np.array([[40.0, 40, 62, 62], [70.0, 70, 73, 73]])
    found = look_inside(body, 3, lesions, one_stage)
    assert set(found.anchors) == {Rule.IOU}
    assert found.one_stage
    assert found.per_lesion(Rule.IOU)[0] > 0
    assert found.per_lesion(Rule.IOU)[1] == 0, "32 px is the smallest size: nothing overlaps 3 px enough"


class SaidOfLevels(nn.Module):
    """Says the same of each level whatever it holds, one after the other."""

    def __init__(self, levels: list[Tensor]) -> None:
        super().__init__()
        self.levels = itertools.cycle(levels)

    def forward(self, level: Tensor) -> Tensor:
        return next(self.levels)


def sure_of_one_cell(detector: LoadedDetector, levels: Sequence[tuple[int, int]], level: int, column: int) -> None:
    """Make a one-stage detector sure of a cell in one level's first row, and of no other."""
    logits = [torch.full((1, 1, *size), -20.0) for size in levels]
    logits[level][..., 0, column] = 20.0
    head = detector.model.head
    head.anchor_generator = CentredAnchorGenerator(((8.0,),) * 5, ((1.0,),) * 5, rounded=False)
    head.classification = SaidOfLevels(logits)
    head.regression = SaidOfLevels([torch.zeros(1, 4, *size) for size in levels])


def test_a_level_whose_cells_reach_beyond_the_input_is_drawn_where_its_cells_are(
    body: CTVolume, one_stage: LoadedDetector
) -> None:
    slab = extract_slab(body.hu, body.spacing, 3, one_stage.inputs)
    padded = padded_size(one_stage.model, slab)
    grid = one_stage.model.head.grid(padded)
    # 96 px after padding are one cell and a half of P6, whose cells are 64 px: its second one begins at 64.
    assert grid.strides[-1] * grid.levels[-1][1] > padded[1]
    sure_of_one_cell(one_stage, grid.levels, 4, 1)
    found = look_inside(body, 3, NONE, one_stage)
    assert found.objectness is not None
    # Half-way between the two cells' centres, at 32 and 96, the map is at a half.
    ((_, _, x, _),) = slab.axes.to_native(np.array([[0.0, 0.0, 64.0, 1.0]]))
    row = found.objectness.max(axis=0)
    assert np.interp(x, np.arange(len(row)), row) == pytest.approx(0.5, abs=0.02)


def test_a_head_of_centres_shows_its_heat_map_and_the_cell_of_each_centre(body: CTVolume) -> None:
    system = System(
        input=load_recipe("faster_rcnn", "small").input,
        detector={"family": "centernet", "blocks": (1, 1, 1), "growth": 16, "pyramid_channels": 8, "head_channels": 8},
    )
    torch.manual_seed(0)
    model = build_detector(system).eval()
    recipe = system.model_dump(mode="json") | {"method": {"name": "tiny", "title": "tiny"}}
    detector = LoadedDetector(model, system.input, CheckpointInfo(Path("tiny"), "0", recipe, {}), torch.device("cpu"))
    lesions = np.array([[40.0, 50, 55, 61]])
    found = look_inside(body, 3, lesions, detector)
    assert found.one_stage
    assert found.per_cell == 1
    assert found.objectness is not None
    assert found.objectness.shape == (96, 96)
    assert 0 < found.objectness.max() < 1
    ((x1, y1, x2, y2),) = found.anchors["centres"].boxes
    assert x1 <= 47.5 <= x2
    assert y1 <= 55.5 <= y2
