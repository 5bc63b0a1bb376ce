"""The head of centres: what a heat map's peaks become, what is taught, and that one lesion is learnt by heart."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.encoders.finest_level import FinestLevel
from napari_uld.detectors.encoders.mulan import Mulan
from napari_uld.detectors.heads.centres import CentreHead, CentreOutput
from napari_uld.detectors.heads.extents import DirectExtent, Extent, SurfacePoints
from napari_uld.detectors.losses.centres import centre_cells
from napari_uld.detectors.parts import GridSize
from napari_uld.detectors.specs.system import System

CELL = (4, 4, 1)


def head(extent: Extent, *, threshold: float = 0.1, detections: int = 10) -> CentreHead:
    return CentreHead(
        2,
        channels=4,
        convolution=partial(nn.Conv3d, kernel_size=3, padding=1),
        extent=extent,
        cell=CELL,
        alpha=2,
        beta=4,
        score_threshold=threshold,
        detections=detections,
    )


def sized(size: tuple[float, float, float], offset: tuple[float, float, float]) -> DirectExtent:
    """Says the same size and offset everywhere, in cells."""
    extent = DirectExtent(4, axes=3, weight=0.1)
    for layer, said in ((extent.size, size), (extent.offset, offset)):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor(said, dtype=torch.float32)
    return extent


def heat(peaks: dict[tuple[int, int, int], float]) -> Tensor:
    scores = torch.full((1, 1, 4, 8, 8), 0.01)
    for (x, y, z), score in peaks.items():
        scores[0, 0, z, y, x] = score
    return scores.logit()


def test_a_peak_becomes_a_box_about_its_cell_in_the_images_pixels() -> None:
    raw = CentreOutput([heat({(2, 3, 1): 0.9})], torch.zeros(1, 4, 4, 8, 8))
    (found,) = head(sized((2, 1, 3), (0.25, 0, -0.5))).detect(raw, [(4, 30, 32)])
    # Its centre: (2.75, 3.5, 1) cells, a cell 4 x 4 x 1 pixels; a scan may go on before the first slice.
    assert found["boxes"].tolist() == [[4 * 1.75, 4 * 3.0, -0.5, 4 * 3.75, 4 * 4.0, 2.5]]
    assert found["scores"].tolist() == [pytest.approx(0.9)]
    assert found["labels"].tolist() == [1]
    assert found["peaks"].tolist() == [[4 * 2.5, 4 * 3.5, 1.5]]


def test_a_box_ends_where_the_slices_do() -> None:
    raw = CentreOutput([heat({(0, 6, 1): 0.9})], torch.zeros(1, 4, 4, 8, 8))
    (found,) = head(sized((3, 6, 1), (0, 0, 0))).detect(raw, [(4, 30, 32)])
    assert found["boxes"].tolist() == [[0.0, 4 * 3.5, 1.0, 4 * 2.0, 30.0, 2.0]]


def test_of_neighbouring_cells_the_highest_is_a_detection_and_the_best_come_first() -> None:
    peaks = {(2, 3, 1): 0.5, (3, 4, 2): 0.6, (6, 6, 2): 0.8, (0, 0, 0): 0.05}
    raw = CentreOutput([heat(peaks)], torch.zeros(1, 4, 4, 8, 8))
    (found,) = head(sized((1, 1, 1), (0, 0, 0))).detect(raw, [(4, 32, 32)])
    assert found["scores"].tolist() == [pytest.approx(0.8), pytest.approx(0.6)]
    (found,) = head(sized((1, 1, 1), (0, 0, 0)), detections=1).detect(raw, [(4, 32, 32)])
    assert len(found["boxes"]) == 1


def test_where_nothing_is_likely_nothing_is_found() -> None:
    raw = CentreOutput([heat({})], torch.zeros(1, 4, 4, 8, 8))
    (found,) = head(SurfacePoints(4, axes=3, points=5, embedding=3, weight=0.1, margin=1.0)).detect(raw, [(4, 32, 32)])
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "boxes": (0, 6),
        "scores": (0,),
        "labels": (0,),
        "peaks": (0, 3),
        "points": (0, 5, 3),
        "first_points": (0, 5, 3),
    }


def test_a_box_is_what_its_refined_points_span() -> None:
    extent = SurfacePoints(4, axes=3, points=2, embedding=3, weight=0.1, margin=None)
    for layer in (extent.points, extent.refine):
        nn.init.zeros_(layer.weight)
    extent.points.bias.data = torch.tensor([-1.0, 0, 0, 1, 1, 0.5])
    extent.refine.bias.data = torch.tensor([0.5, 0, 0])
    told = extent.decode(torch.zeros(4, 4, 8, 8), torch.tensor([[2, 3, 1]]))
    assert told["first_points"].tolist() == [[[1.5, 3.5, 1.5], [3.5, 4.5, 2.0]]]
    assert told["points"].tolist() == [[[2.0, 3.5, 1.5], [4.0, 4.5, 2.0]]]
    assert told["boxes"].tolist() == [[2.0, 3.5, 1.5, 4.0, 4.5, 2.0]]


def test_the_direct_box_learns_size_and_offset_at_the_centre_alone() -> None:
    # Centre (2.75, 3.5, 1.0): in cell (2, 3, 1), offset (.25, 0, -.5); size (2, 1, 3).
    box = torch.tensor([[1.75, 3.0, -0.5, 3.75, 4.0, 2.5]])
    cells = centre_cells(box, (4, 8, 8))
    losses = sized((2, 2, 2), (0, 0, 0)).losses(torch.zeros(4, 4, 8, 8), cells, box)
    assert losses["sizes"].item() == pytest.approx(0.1 * 2)
    assert losses["offsets"].item() == pytest.approx(0.75)


def test_what_is_taught_is_the_cell_of_the_centre() -> None:
    target = {"boxes": torch.tensor([[7.0, 12, 0, 15, 16, 2]])}
    part = head(sized((1, 1, 1), (0, 0, 0)))
    taught = part.taught(target, (4, 30, 32))["centres"]
    assert taught.boxes.tolist() == [[8, 12, 1, 12, 16, 2]]
    assert part.grid_size((4, 30, 32)) == GridSize(4 * 8 * 8, 1)


def test_images_without_lesions_teach_the_heat_map_alone() -> None:
    part = head(SurfacePoints(4, axes=3, points=5, embedding=3, weight=0.1, margin=1.0))
    raw = part([torch.randn(1, 2, 4, 8, 8)])
    losses = part.losses(raw, [{"boxes": torch.zeros(0, 6)}])
    assert losses["centres"] > 0
    assert losses["points"].item() == losses["triplet"].item() == 0
    sum(losses.values()).backward()


@pytest.mark.parametrize("extent", ["size", "points"])
def test_one_lesion_is_learnt_by_heart_and_every_part_learns(extent: str) -> None:
    torch.manual_seed(0)
    volume = torch.randn(1, 8, 48, 48) * 4
    volume[0, 2:6, 14:30, 10:34] += 60
    box = torch.tensor([[10.0, 14, 2, 34, 30, 6]])
    model = build_detector(
        System(
            input={"volume": True, "slices": 8, "slices_per_image": 1, "long_side": 48},
            detector={
                "family": "vld",
                "blocks": (2, 2, 2),
                "growth": 16,
                "pyramid_channels": 32,
                "head_channels": 32,
                "point_channels": 16,
                "extent": extent,
            },
        )
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64), "thickness": torch.tensor(2.0)}
    for step in range(150):
        losses = model([volume], [target])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if not step:
            assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
        optimizer.step()
    with torch.no_grad():
        (found,) = model.eval()([volume])
    assert found["scores"][0] > 0.5
    low, high = torch.maximum(found["boxes"][0, :3], box[0, :3]), torch.minimum(found["boxes"][0, 3:], box[0, 3:])
    shared = (high - low).clamp(min=0).prod()
    volumes = [(each[3:] - each[:3]).prod() for each in (found["boxes"][0], box[0])]
    assert shared / (sum(volumes) - shared) > 0.8


def flat(slices: int = 3) -> System:
    small = {"blocks": (2, 2, 2), "growth": 16, "pyramid_channels": 32, "head_channels": 32}
    return System(input={"slices": slices}, detector={"family": "centernet"} | small)


@pytest.mark.parametrize("slices", [3, 9])
def test_one_lesion_of_a_slice_is_learnt_by_heart_by_one_image_and_by_several(slices: int) -> None:
    torch.manual_seed(0)
    slab = torch.randn(slices, 64, 64) * 4
    slab[:, 14:30, 10:34] += 60
    box = torch.tensor([[10.0, 14, 34, 30]])
    model = build_detector(flat(slices=slices)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64)}
    for step in range(150):
        losses = model([slab], [target])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if not step:
            assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
        optimizer.step()
    with torch.no_grad():
        (found,) = model.eval()([slab])
    assert found["scores"][0] > 0.5
    assert box_iou(found["boxes"][:1], box).item() > 0.8


def test_a_slices_peak_becomes_a_box_in_its_plane() -> None:
    part = CentreHead(
        2,
        channels=4,
        convolution=partial(nn.Conv2d, kernel_size=3, padding=1),
        extent=DirectExtent(4, axes=2, weight=0.1),
        cell=(4, 4),
        alpha=2,
        beta=4,
        score_threshold=0.1,
        detections=10,
    )
    for layer, said in ((part.extent.size, (2, 1)), (part.extent.offset, (0.25, 0))):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor(said, dtype=torch.float32)
    scores = torch.full((1, 1, 8, 8), 0.01)
    scores[0, 0, 3, 2] = 0.9
    (found,) = part.detect(CentreOutput([scores.logit()], torch.zeros(1, 4, 8, 8)), [(30, 32)])
    assert found["boxes"].tolist() == [[4 * 1.75, 4 * 3.0, 4 * 3.75, 4 * 4.0]]
    taught = part.taught({"boxes": torch.tensor([[7.0, 12, 15, 16]])}, (32, 32))["centres"]
    assert taught.boxes.tolist() == [[8, 12, 12, 16]]
    assert part.grid_size((32, 32)) == GridSize(64, 1)


def test_a_centernet_of_one_image_has_no_fusion_and_one_of_several_has_mulans() -> None:
    assert isinstance(build_detector(flat()).encoder, FinestLevel)
    assert isinstance(build_detector(flat(slices=9)).encoder, Mulan)


def test_hard_negatives_weigh_more_than_other_background_and_ignored_boxes_nothing() -> None:
    torch.manual_seed(0)
    model, slab = build_detector(flat()).train(), torch.randn(3, 64, 64)
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    where = torch.tensor([[8.0, 8, 40, 40]])
    plain, hard, left_out = (
        model([slab], [target | more])["centres"].item() for more in ({}, {"negatives": where}, {"ignored": where})
    )
    assert left_out < plain < hard
