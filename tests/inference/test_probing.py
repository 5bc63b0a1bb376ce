"""What is found out about a network by trying it is what it does."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.parts import Features, Fused
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.inference.probing import bytes_per_voxel, reach_along_z
from tests.inference.volumetric import vld


class Doubles(torch.nn.Module):
    """Sees `reach` slices to each side, a grid of its input's size."""

    size_divisible = 8

    def __init__(self, reach: int = 0) -> None:
        super().__init__()
        self.reach = reach
        self.encoder = SimpleNamespace(join=lambda slab, thickness: Fused(slab[0], slab))
        # Weights are there once, whatever the tile.
        self.weight = torch.nn.Parameter(torch.ones(1000))

    def per_image(self, images: Tensor) -> Features:
        # Of two more of the input's size one is let go: three at a time.
        doubled = images * 2 * self.weight[0]
        doubled += 1
        return {"0": doubled}

    def dense_head(self, levels: list[Tensor]) -> tuple[list[Tensor]]:
        (level,) = levels
        return ([F.conv3d(level, level.new_ones(1, 1, 2 * self.reach + 1, 1, 1), padding=(self.reach, 0, 0))],)


@pytest.mark.parametrize("operator", ["acs", "i3d", "st3d"])
def test_a_vld_sees_a_slice_for_each_layer_of_the_third_block_and_one_for_its_head(operator: str) -> None:
    assert vld((2, 2, 3), operator).reach == 4


def test_the_published_network_sees_25_slices_to_each_side() -> None:
    assert reach_along_z(build_detector(load_recipe("vld_acs_spr")), 1) == 25


@pytest.mark.parametrize("reach", [0, 1, 15, 16, 40])
def test_a_networks_reach_is_found_however_far_it_is(reach: int) -> None:
    assert reach_along_z(Doubles(reach), 1) == reach  # type: ignore[arg-type]


class Pools(Doubles):
    """Sees the whole of each four slices that begin at a multiple of four, and those before and behind."""

    def dense_head(self, levels: list[Tensor]) -> tuple[list[Tensor]]:
        coarse = F.max_pool3d(levels[0], (4, 1, 1))
        seen = F.max_pool3d(coarse, (3, 1, 1), stride=1, padding=(1, 0, 0))
        return ([F.interpolate(seen, size=levels[0].shape[2:], mode="nearest")],)


def test_where_slices_are_pooled_the_furthest_of_them_counts() -> None:
    # From the last of four to the first of the four before.
    assert reach_along_z(Pools(), 1) == 7  # type: ignore[arg-type]


def test_the_memory_is_that_of_the_tensors_that_are_there_at_a_time() -> None:
    # The image and two copies; what the crop takes beside it are 8.
    assert bytes_per_voxel(Doubles(), 1) == pytest.approx(3 * 4 + 8, rel=1e-3)  # type: ignore[arg-type]


MEASURED = """
import json, threading, psutil, torch
from tests.inference.volumetric import vld
depth, side, process = 48, 192, psutil.Process()
detector = vld((3, 6, 8))
counted, most, stop = detector.bytes_per_voxel, 0, threading.Event()
def watch():
    global most
    while not stop.wait(0.002):
        most = max(most, process.memory_info().rss)
watcher = threading.Thread(target=watch)
with torch.inference_mode():
    detector.model([torch.zeros(1, 2, side, side)])
    before = process.memory_info().rss
    watcher.start()
    detector.model([torch.randn(1, depth, side, side)])
    stop.set()
    watcher.join()
print(json.dumps([counted, (most - before) / (depth * side * side)]))
"""


def test_the_small_networks_memory_is_what_a_process_takes() -> None:
    # Without it the C library would keep much of what was freed.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", MEASURED], check=True, capture_output=True, text=True, env=environment)
    counted, measured = json.loads(done.stdout)
    # Convolutions want memory of their own: a tenth here.
    assert 0.8 * counted < measured < 1.4 * counted
