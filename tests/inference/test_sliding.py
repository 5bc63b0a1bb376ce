"""Sliding along a scan: every slice counts once, whatever memory there is; too little of it is said, not suffered."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import TileMemoryError
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference import sliding
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.sliding import Tile, Tiling, plan, slide
from napari_uld.inference.volumes import run_volume
from napari_uld.progress import Progress, finish
from tests.inference.volumetric import unet, vld


def fits(most: int, seen: list[Tile]) -> Callable[[Tile], Tile]:
    """A network that a GPU has memory for on `most` slices."""

    def look(tile: Tile) -> Tile:
        seen.append(tile)
        if tile.count > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return tile

    return look


@given(st.integers(1, 300), st.integers(0, 12), st.integers(4, 60), st.integers(1, 100))
def test_every_slice_counts_once_and_lies_a_halo_within_its_tile(slices: int, halo: int, more: int, most: int) -> None:
    tiling = Tiling(2 * halo + more, halo)
    tiles = finish(slide(slices, tiling, fits(max(most, tiling.least), []), "looking"))
    assert [tile.low for tile in tiles] == [0, *(tile.high for tile in tiles[:-1])]
    assert tiles[-1].high == slices
    for tile in tiles:
        assert tile.low < tile.high
        # On a multiple of what a network may pool.
        assert tile.first == max(tile.low - halo, 0) // 4 * 4
        assert min(tile.high + halo, slices) == tile.first + tile.count
        assert tile.count <= min(tiling.depth, max(most, tiling.least))


def test_where_memory_is_too_small_tiles_are_half_as_deep_from_there_on_and_it_is_said() -> None:
    steps: list[Progress] = []
    seen: list[Tile] = []
    finish(slide(100, Tiling(64, 4), fits(20, seen), "looking"), steps.append)
    assert [tile.count for tile in seen] == [64, 32, *[16] * 11, 12]
    said = [step.message for step in steps if "memory" in step.message]
    assert said == [
        "Too little memory for 64 slices at a time: going on with 32",
        "Too little memory for 32 slices at a time: going on with 16",
    ]
    assert [step.done for step in steps] == sorted(step.done for step in steps)


def test_where_not_even_one_slice_and_its_halos_fit_it_is_an_error() -> None:
    seen: list[Tile] = []
    with pytest.raises(TileMemoryError, match="too small for 12 slices at a time, of which 8 would count"):
        finish(slide(100, Tiling(64, 4), fits(11, seen), "looking"))
    assert [tile.count for tile in seen] == [64, 32, 16, 12]


def test_other_errors_are_passed_on() -> None:
    def broken(tile: Tile) -> Tile:
        raise RuntimeError("a kernel failed")

    with pytest.raises(RuntimeError, match="a kernel failed"):
        finish(slide(100, Tiling(64, 4), broken, "looking"))


def test_it_can_be_cancelled_between_tiles_and_tells_the_time_left() -> None:
    seen: list[Tile] = []
    work = slide(100, Tiling(20, 4), fits(20, seen), "looking")
    assert next(work) == Progress(0, 100, "looking")
    step = next(work)
    assert (step.done, step.total) == (16, 100)
    assert step.message == "Slice 16 of 100, 0 s left"
    work.close()
    assert len(seen) == 1


def test_tiles_are_as_deep_as_half_of_the_free_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = vld((2, 2, 3))
    # The halo: half of the four that are reached, and a peak's neighbour.
    assert detector.reach == 4
    per_slice = detector.bytes_per_voxel * 64 * 96
    monkeypatch.setattr(sliding, "free_bytes", lambda device: 2 * 20.5 * per_slice)
    assert plan(detector, 200, (60, 70)) == Tiling(20, 3)
    monkeypatch.setattr(sliding, "free_bytes", lambda device: 2 * 2000 * per_slice)
    assert plan(detector, 200, (60, 70)) == Tiling(36, 3)
    monkeypatch.setattr(sliding, "free_bytes", lambda device: 10.5 * per_slice)
    assert plan(detector, 200, (60, 70)) == Tiling(10, 3)
    # A short scan needs no halo.
    monkeypatch.setattr(sliding, "free_bytes", lambda device: 3.5 * per_slice)
    assert plan(detector, 3, (60, 70)).depth >= 3


def test_where_memory_is_too_small_for_the_shallowest_tile_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = vld((2, 2, 3))
    monkeypatch.setattr(sliding, "free_bytes", lambda device: 9.5 * detector.bytes_per_voxel * 64 * 96)
    with pytest.raises(TileMemoryError, match="10 slices of 64 x 96 voxels need .* on the device cpu"):
        plan(detector, 200, (60, 70))


def test_a_cpus_free_memory_is_told() -> None:
    assert sliding.free_bytes(torch.device("cpu")) > 2**20


@pytest.mark.parametrize("detector", [vld((2, 2, 3)), unet()], ids=["vld", "unet"])
def test_with_a_halo_of_all_that_is_seen_the_tiled_heat_map_is_the_untiled_one(detector: LoadedDetector) -> None:
    image = torch.randn(1, 1, 120, 64, 64, generator=torch.Generator().manual_seed(1)) * 60

    def tiled(tiling: Tiling) -> torch.Tensor:
        def look(tile: Tile) -> torch.Tensor:
            heat = heat_map(detector, image[:, :, tile.first : tile.first + tile.count])
            return heat[tile.low - tile.first : tile.high - tile.first]

        return torch.cat(finish(slide(120, tiling, look, "looking")))

    untiled = heat_map(detector, image)
    assert untiled.shape == (120, 16, 16)
    assert torch.allclose(tiled(Tiling(2 * detector.reach + 16, detector.reach)), untiled, atol=1e-4)
    # It is the halo that does it.
    assert detector.reach // 4 >= 1
    assert (tiled(Tiling(32, detector.reach // 4)) - untiled).abs().max() > 1e-4


@torch.inference_mode()
def heat_map(detector: LoadedDetector, image: torch.Tensor) -> torch.Tensor:
    """Scores (D, h, w)."""
    model = detector.model
    fused = model.encoder.join([model.per_image(image)], torch.ones(1))
    return model.dense_head(list(fused.key.values())).logits[0][0, 0].sigmoid()


def test_with_the_default_halo_what_is_found_in_tiles_is_what_is_found_in_the_whole_scan() -> None:
    detector = vld((3, 6, 8))
    hu = np.random.default_rng(0).normal(0, 60, (120, 64, 64)).astype(np.int16)
    spacing = (detector.inputs.interval_mm, detector.inputs.spacing_mm, detector.inputs.spacing_mm)
    scan = CTVolume(hu, spacing, Path("scan"), "scan", np.arange(120), series_uid="1.2.3")

    def surest(tiling: Tiling) -> np.ndarray:
        boxes = finish(run_volume(scan, detector, tiling)).boxes
        # As many as the network gives of one volume, less what is suppressed.
        assert 90 < len(boxes) <= 100
        return boxes[:60]

    halo = plan(detector, 120, (64, 64)).halo
    assert halo < detector.reach
    untiled = surest(Tiling(124, 0))
    assert f1(surest(Tiling(2 * halo + 12, halo)), untiled) >= 0.99
    # It is the halo that does it.
    assert f1(surest(Tiling(12, 0)), untiled) < 0.99


def f1(found: np.ndarray, expected: np.ndarray) -> float:
    """Of boxes that are the same by a 3D IoU of .5."""
    same = iou(found, expected) >= 0.5
    return 2 * same[linear_sum_assignment(same, maximize=True)].sum() / (len(found) + len(expected))
