"""The ABM that a person sees in the viewer is the one that detectors learn, on every lesion of DeepLesion's table."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_uld.ct.dl_info import DlInfoRow, read_dl_info
from napari_uld.detectors.specs.family import TargetMaps
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.targets import make_target
from napari_uld.inference.slabs import Slab, extract_slab
from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.masks import MaskKind, pseudo_mask
from napari_uld.masks.bounding_map import size_adaptive_alpha

REAL = Path(__file__).parents[4] / "shared" / "data" / "deeplesion" / "DL_info.csv"
MAPS = TargetMaps(frozenset({"abm"}))
SIDE = 512


@pytest.fixture(scope="module")
def table() -> list[tuple[DlInfoRow, Annotation]]:
    """Every row with its lesion."""
    info = read_dl_info(REAL)
    found = []
    for series, rows in info.by_series.items():
        lesions = annotations_from_dl_info(info, series, series)
        found += list(zip(rows, lesions, strict=True))
    return found


def seen(row: DlInfoRow, version: str, body: tuple[int, int]) -> Slab:
    """The row's slice as a network sees it, the body's crop beginning at `body` (x, y)."""
    hu = np.full((1, SIDE, SIDE), -1000, np.int16)
    hu[0, body[1] : -20, body[0] : -20] = 40
    return extract_slab(hu, row.spacing, 0, load_recipe("faster_rcnn_bmc", version).input)  # type: ignore[arg-type]


@pytest.mark.skipif(not REAL.is_file(), reason="needs DeepLesion's table in ../shared/data")
@pytest.mark.parametrize("version", ["published", "small"])
def test_eq_12_gives_every_lesion_one_alpha(table: list[tuple[DlInfoRow, Annotation]], version: str) -> None:
    slabs: dict[tuple[float, ...], Slab] = {}
    alphas = []
    for row, lesion in table:
        if row.spacing not in slabs:
            slabs[row.spacing] = seen(row, version, (20, 60))
        slab = slabs[row.spacing]
        shown = size_adaptive_alpha([lesion.box], row.spacing[1] * row.spacing[2])
        edges = slab.axes.to_network(np.array([lesion.box]))
        assert size_adaptive_alpha(edges - 0.5, slab.pixel_area) == shown
        alphas.append(float(shown[0]))
    assert len(alphas) == 4927
    assert min(alphas.count(alpha) for alpha in (0.0, 1.0, 1.4)) > 200


@pytest.mark.skipif(not REAL.is_file(), reason="needs DeepLesion's table in ../shared/data")
def test_the_shown_map_resampled_is_the_learnt_one(table: list[tuple[DlInfoRow, Annotation]]) -> None:
    differences = []
    for row, lesion in table[::40]:
        slab = seen(row, "published", (5, 5))
        shown = pseudo_mask(
            MaskKind.ABM, np.zeros((SIDE, SIDE)), row.spacing[1] * row.spacing[2], [lesion.box], [None], (-175.0, 275.0)
        )
        shape = slab.hu.shape[1:]
        edges = slab.axes.to_network(np.array([lesion.box]))
        target = make_target(edges, np.ones(1), None, shape, maps=MAPS, pixel_area=slab.pixel_area)  # type: ignore[arg-type]
        # A pixel of the network's input samples the native map at its own centre.
        y, x = (np.indices(shape) + 0.5).astype(np.float32)
        native_x = x / slab.axes.scale[0] + slab.axes.offset[0] - 0.5
        native_y = y / slab.axes.scale[1] + slab.axes.offset[1] - 0.5
        resampled = cv2.remap(
            shown, native_x.astype(np.float32), native_y.astype(np.float32), interpolation=cv2.INTER_LINEAR
        )
        learnt = target["abm"].numpy()
        within = (learnt > 0) | (resampled > 0)
        differences.append(np.abs(learnt - resampled)[within])
    # Over all pixels of all lesions: .014; where areas are counted in native pixels it is .021.
    assert np.concatenate(differences).mean() <= 0.02
