"""Where anchors stand, and which of them belong to a cell and to a level."""

import torch
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid, make_grid


def test_anchors_stand_on_the_centres_of_their_cells() -> None:
    generator = CentredAnchorGenerator(((16,),), ((1.0,),))
    images = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])
    (anchors,) = generator(images, [torch.zeros(1, 8, 4, 4)])
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0].tolist() == [4.0, 4.0]
    assert centres[1].tolist() == [12.0, 4.0]
    assert centres[-1].tolist() == [28.0, 28.0]


def test_on_a_pyramid_each_level_has_its_size_on_its_own_cells() -> None:
    generator = CentredAnchorGenerator(((8,), (16,)), ((1.0,), (1.0,)))
    images = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])
    (anchors,) = generator(images, [torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 4, 4)])
    assert len(anchors) == 64 + 16
    assert anchors[0].tolist() == [-2, -2, 6, 6]
    assert anchors[64].tolist() == [-4, -4, 12, 12]


def grid() -> Grid:
    """Levels of 2 x 3 and 1 x 2 cells, two anchors on each."""
    return Grid(torch.zeros(16, 4), ((2, 3), (1, 2)), 2, (4.0, 8.0))


def test_all_anchors_of_a_cell_stand_together() -> None:
    assert grid().of_cells(torch.tensor([0, 5, 6])).tolist() == [0, 1, 10, 11, 12, 13]
    assert grid().of_cells(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_anchors_are_counted_on_each_level() -> None:
    assert grid().per_level(torch.tensor([0, 11, 12, 15, 15])).tolist() == [2, 3]
    assert grid().per_level(torch.tensor([12])).tolist() == [0, 1]
    assert grid().per_level(torch.zeros(0, dtype=torch.int64)).tolist() == [0, 0]


def test_a_grid_has_the_anchors_that_torchvision_makes_for_an_image_that_its_strides_divide() -> None:
    generator = CentredAnchorGenerator(((8,), (16,)), ((0.5, 1.0),) * 2)
    made = make_grid(generator, (4, 8), (24, 32))
    (anchors,) = generator(
        ImageList(torch.zeros(1, 3, 24, 32), [(24, 32)]), [torch.zeros(1, 8, 6, 8), torch.zeros(1, 8, 3, 4)]
    )
    assert torch.equal(made.anchors, anchors)
    assert (made.levels, made.per_cell, made.strides) == (((6, 8), (3, 4)), 2, (4.0, 8.0))


def test_a_level_that_does_not_divide_the_image_keeps_its_stride() -> None:
    made = make_grid(CentredAnchorGenerator(((8,),), ((1.0,),)), (16,), (24, 40))
    assert made.levels == ((2, 3),)
    centres = (made.anchors[:, :2] + made.anchors[:, 2:]) / 2
    assert centres[-1].tolist() == [40.0, 24.0]


def test_anchors_that_are_not_rounded_have_their_size_and_ratio_to_the_last_bit() -> None:
    generator = CentredAnchorGenerator(((6.8, 10.0),), ((1.0, 3.27),), rounded=False)
    sides = generator.cell_anchors[0][:, 2:] * 2
    assert torch.allclose(sides.prod(dim=1).sqrt(), torch.tensor([6.8, 10.0, 6.8, 10.0]))
    assert torch.allclose(sides[:, 1] / sides[:, 0], torch.tensor([1.0, 1.0, 3.27, 3.27]))
