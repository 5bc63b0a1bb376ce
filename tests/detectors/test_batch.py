"""Images of different sizes as one batch, and their targets' maps with them."""

import torch

from napari_uld.detectors.batch import pad_images, pad_maps


def test_images_are_padded_to_a_multiple_of_32_with_zeros_below_and_to_the_right() -> None:
    padded = pad_images([torch.ones(3, 33, 20), torch.ones(3, 10, 50)], 32)
    assert padded.tensors.shape == (2, 3, 64, 64)
    assert padded.tensors[0].sum() == 3 * 33 * 20
    assert padded.image_sizes == [(33, 20), (10, 50)]


def test_a_targets_maps_are_padded_like_its_image_and_its_boxes_are_left_alone() -> None:
    target = {"boxes": torch.ones(1, 4), "bm": torch.ones(3, 5), "masks": torch.ones(2, 3, 5)}
    padded = pad_maps(target, torch.Size([4, 8]))
    assert padded["bm"].shape == (4, 8)
    assert padded["masks"].shape == (2, 4, 8)
    assert padded["bm"][:3, :5].sum() == padded["bm"].sum() == 15
    assert torch.equal(padded["boxes"], target["boxes"])


def test_volumes_are_padded_in_depth_to_the_deepest_alone() -> None:
    padded = pad_images([torch.ones(1, 3, 33, 20), torch.ones(1, 5, 10, 50)], 32)
    assert padded.tensors.shape == (2, 1, 5, 64, 64)
    assert padded.tensors[0, 0, :3, :33, :20].all()
    assert padded.tensors[0].sum() == 3 * 33 * 20
    assert padded.image_sizes == [(3, 33, 20), (5, 10, 50)]


def test_a_volumes_maps_are_padded_along_all_three_axes() -> None:
    padded = pad_maps({"masks": torch.ones(2, 3, 5, 7)}, (4, 8, 8))
    assert padded["masks"].shape == (2, 4, 8, 8)
    assert padded["masks"][:, :3, :5, :7].all()
    assert padded["masks"].sum() == 2 * 3 * 5 * 7
