"""Masks for findings: their own detection's on the key slice, and none from a detector that learned none."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume
from napari_uld.inference import finding_masks
from napari_uld.inference.candidates import SlabDetections
from napari_uld.inference.finding_masks import with_masks
from napari_uld.inference.slabs import Slab
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import decode
from napari_uld.progress import finish

BOXES = np.array([[9.5, 9.5, 19.5, 19.5], [29.5, 9.5, 39.5, 19.5]])
SLAB = Slab(np.zeros((3, 48, 48), np.float32), AxisMap((0, 0), (1.0, 1.0)), (2.0, 1.0, 1.0), ())


@pytest.fixture
def volume() -> CTVolume:
    return CTVolume(np.zeros((4, 48, 48), np.int16), (2.0, 1.0, 1.0), Path("s"), "s", np.array([7, 6, 5, 4]))


def findings(boxes: np.ndarray, keys: list[int]) -> Findings:
    return Findings.from_rows(
        scan_id="s", scan_name="s", method="m", checkpoint="c", boxes=boxes, scores=[0.9, 0.8], key_slices=keys
    )


def detector(
    monkeypatch: pytest.MonkeyPatch, mask_kind: str | None, seen: list[int], **maps: object
) -> SimpleNamespace:
    """Finds both boxes, the second one first, on every slice, and draws these maps where it is asked for them."""
    model = SimpleNamespace(predicts_maps=False)

    def candidates(slabs: list[Slab], _: object) -> Iterator[SlabDetections]:
        assert model.predicts_maps
        for _slab in slabs:
            yield SlabDetections(BOXES[::-1] + 0.1, np.array([0.9, 0.8]), np.ones(2, int), **maps)  # type: ignore[arg-type]

    def extract_slab(_: object, __: object, z: int, ___: object) -> Slab:
        seen.append(z)
        return SLAB

    monkeypatch.setattr(finding_masks, "candidates", candidates)
    monkeypatch.setattr(finding_masks, "extract_slab", extract_slab)
    monkeypatch.setattr(
        finding_masks, "system_of", lambda _: SimpleNamespace(supervision=SimpleNamespace(mask_kind=mask_kind))
    )
    return SimpleNamespace(model=model, inputs=SimpleNamespace(volume=False), info=SimpleNamespace(recipe={}))


def masks(found: Findings, volume: CTVolume, detector: SimpleNamespace) -> list[np.ndarray | None]:
    given = finish(with_masks(found, volume, detector)).masks  # type: ignore[arg-type]
    return [None if mask is None else decode(mask) for mask in given]


def test_each_finding_has_the_map_of_its_own_box(monkeypatch: pytest.MonkeyPatch, volume: CTVolume) -> None:
    maps = np.zeros((2, 10, 10), np.float32)
    maps[0, :, :5] = 1  # of the second box, the left half
    maps[1] = 1
    seen: list[int] = []
    one = detector(monkeypatch, "ellipse", seen, maps=maps, slice_maps={})
    first, second = masks(findings(BOXES, [6, 4]), volume, one)
    assert first is not None
    assert first.sum() == first[10:20, 10:20].sum() == 100
    assert second is not None
    assert second.sum() == second[10:20, 30:35].sum() == 50
    assert seen == [3, 1], "only key slices are looked at again"
    assert not one.model.predicts_maps, "it is left as it was"


def test_of_a_map_of_the_whole_slice_a_finding_has_what_lies_in_its_box(
    monkeypatch: pytest.MonkeyPatch, volume: CTVolume
) -> None:
    whole = np.zeros((48, 48), np.float32)
    whole[12:40, 12:24] = 1
    one = detector(monkeypatch, "grabcut", [], maps=None, slice_maps={"segmentation": whole})
    first, second = masks(findings(BOXES, [5, 5]), volume, one)
    assert first is not None
    assert first.sum() == first[12:20, 12:20].sum() == 64
    assert second is None, "nothing of it is inside"


def test_a_box_that_is_not_found_again_and_a_detector_without_masks_give_none(
    monkeypatch: pytest.MonkeyPatch, volume: CTVolume
) -> None:
    maps = np.ones((2, 10, 10), np.float32)
    one = detector(monkeypatch, "ellipse", [], maps=maps, slice_maps={})
    first, second = masks(findings(BOXES + [[0], [3]], [5, 5]), volume, one)
    assert first is not None
    assert second is None
    seen: list[int] = []
    assert masks(findings(BOXES, [5, 5]), volume, detector(monkeypatch, None, seen)) == [None, None]
    assert seen == []
