"""What every detector does with images: batch them, show them to its encoder, and put the slab together."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.parts import Features, Fused, Target
from napari_uld.detectors.slab_detector import SlabDetector


class Recorder(nn.Module):
    """An encoder that remembers what it was shown, and says the mean of each image."""

    channels = 1
    strides = (4, 64)
    backbone = None

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def per_image(self, images: Tensor) -> Features:
        self.seen.append(tuple(images.shape))
        return {"mean": images.flatten(1).amax(dim=1)}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        return Fused({"largest": torch.stack([image["mean"] for image in slab], dim=1)}, [], maps={"mm": thickness})


class Told(SlabDetector):
    """Gives back what it would detect on."""

    def on_features(
        self, slab: list[Features], batch: ImageList, thickness: Tensor, targets: list[Target] | None
    ) -> Any:
        return self.encoder.join(slab, thickness), batch, targets


def told(**changes: int) -> Told:
    return Told(encoder=Recorder(), slices_per_image=3, **changes)  # type: ignore[arg-type]


def test_the_images_of_a_slab_are_its_slices_in_threes_in_their_order() -> None:
    model = told()
    slabs = [torch.arange(9.0)[:, None, None].expand(9, 40, 64), 100 + torch.zeros(9, 64, 30)]
    fused, batch, _ = model(slabs)
    assert model.encoder.seen == [(2 * 3, 3, 64, 64)]
    assert fused.key["largest"].tolist() == [[2, 5, 8], [100, 100, 100]]
    assert batch.image_sizes == [(40, 64), (64, 30)]


def test_windows_follow_one_another_as_images_do() -> None:
    # Two windows of three slices each: six channels, window by window.
    fused, _, _ = told()([torch.tensor([0.0, 1, 2, 10, 11, 12])[:, None, None].expand(6, 32, 32)])
    assert fused.key["largest"].tolist() == [[2, 12]]


def test_the_encoder_is_told_the_thickness_of_each_scan_and_1_mm_where_nobody_knows() -> None:
    slabs = [torch.zeros(3, 32, 32)] * 2
    assert told()(slabs, thickness=torch.tensor([5.0, 1.25]))[0].maps["mm"].tolist() == [5.0, 1.25]
    assert told()(slabs)[0].maps["mm"].tolist() == [1.0, 1.0]


def test_a_volume_is_one_image_with_a_depth() -> None:
    model = Told(encoder=Recorder(), slices_per_image=1)  # type: ignore[arg-type]
    _, batch, _ = model([torch.zeros(1, 8, 40, 64)])
    assert model.encoder.seen == [(1, 1, 8, 64, 64)]
    assert batch.image_sizes == [(8, 40, 64)]


def test_images_are_padded_to_the_coarsest_stride_at_least_32_or_to_what_is_asked_for() -> None:
    assert told().size_divisible == 64
    assert told(size_divisible=16).size_divisible == 16
    assert told(size_divisible=16)([torch.zeros(3, 40, 50)])[1].tensors.shape == (1, 3, 48, 64)
    assert told().strides == (4, 64)


def test_targets_are_padded_in_training_and_not_looked_at_in_evaluation() -> None:
    target = {"boxes": torch.ones(1, 4), "bm": torch.ones(40, 50)}
    (padded,) = told().train()([torch.zeros(3, 40, 50)], [target])[2]
    assert padded["bm"].shape == (64, 64)
    assert told().eval()([torch.zeros(3, 40, 50)], [target])[2] is None
