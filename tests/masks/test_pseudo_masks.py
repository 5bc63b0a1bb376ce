from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.errors import RecistError
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.recist import Recist
from napari_uld.masks import MaskKind, MaskParameters, pseudo_mask
from napari_uld.masks.bounding_map import adaptive_bounding_map, bounding_map
from napari_uld.masks.ellipse import quarter_ellipse_mask

SHAPE = (96, 96)
WINDOW = (-175.0, 275.0)
CROSS = Recist.from_points([(30, 50), (60, 50), (45, 40), (45, 60)])
BOX = CROSS.box()
DEEPLESION = Path(__file__).parents[3] / "shared" / "data" / "deeplesion"


def a_slice():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    lesion = (x - 45) ** 2 / 225 + (y - 50) ** 2 / 100 <= 1
    return (100 * lesion + np.random.default_rng(0).normal(0, 10, SHAPE)).astype(np.int16)


def test_the_bounding_maps_need_no_recist():
    hu = a_slice()
    boxes = [[10, 10, 30, 30], [28, 10, 50, 30]]
    assert (pseudo_mask(MaskKind.BM, hu, 1.0, boxes, [None, None], WINDOW) == bounding_map(boxes, SHAPE)).all()
    # 400 and 440 px of 2 mm^2 are large.
    expected = adaptive_bounding_map(boxes, SHAPE, pixel_area=2.0, combine="max")
    assert expected[10, 10] == pytest.approx(0.3)
    found = pseudo_mask(MaskKind.ABM, hu, 2.0, boxes, [None, None], WINDOW, MaskParameters(combine="max"))
    assert (found == expected).all()


@pytest.mark.parametrize("kind", [MaskKind.ELLIPSE, MaskKind.GRABCUT])
def test_the_masks_that_need_a_recist_say_so(kind):
    hu = a_slice()
    assert kind.needs_recist
    with pytest.raises(RecistError, match=f"The {kind} mask needs a RECIST and the lesion at .* has none"):
        pseudo_mask(kind, hu, 1.0, [BOX], [None], WINDOW)


@pytest.mark.parametrize("kind", list(MaskKind))
def test_every_kind_gives_floats_between_0_and_1(kind):
    hu = a_slice()
    mask = pseudo_mask(kind, hu, 1.0, [BOX], [CROSS], WINDOW)
    assert mask.dtype == np.float32
    assert mask.shape == SHAPE
    assert mask.max() == 1
    assert mask.min() == 0


def test_the_masks_of_two_lesions_lie_on_one_slice():
    other = Recist.from_points([(70, 20), (90, 20), (80, 12), (80, 28)])
    both = pseudo_mask(MaskKind.ELLIPSE, a_slice(), 1.0, [BOX, other.box()], [CROSS, other], WINDOW)
    assert (both == (quarter_ellipse_mask(CROSS, SHAPE) | quarter_ellipse_mask(other, SHAPE))).all()


@pytest.mark.skipif(not DEEPLESION.is_dir(), reason="needs the partial DeepLesion download in ../shared/data")
def test_masks_of_a_real_lymph_node_are_soft_tissue_inside_its_box():
    info = read_dl_info(DEEPLESION / "DL_info.csv")
    (row,) = info.by_series["000001_03_01"]
    (lesion,) = annotations_from_dl_info(info, "000001_03_01", "scan")
    hu = read_slices(DEEPLESION, "000001_03_01", [88]).hu[0]
    masks = {k: pseudo_mask(k, hu, 1.0, [lesion.box], [lesion.recist], row.window) > 0 for k in MaskKind}
    # Nothing lies outside the box, which is the bounding maps' extent.
    assert (masks[MaskKind.BM] == masks[MaskKind.ABM]).all()
    for kind in (MaskKind.ELLIPSE, MaskKind.GRABCUT):
        assert not (masks[kind] & ~masks[MaskKind.BM]).any()
        assert 0 < np.median(hu[masks[kind]]) < 150
        # Fat lies around the node.
        assert np.median(hu[masks[MaskKind.BM] & ~masks[kind]]) < np.median(hu[masks[kind]]) - 50
