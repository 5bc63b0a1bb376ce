"""Crops of volumes hold their lesions, tightly boxed, the same for one seed and epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import Recipe, TrainingSpec
from napari_uld.detectors.specs.system import FAMILIES, Family
from napari_uld.errors import DataError
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.lesions.recist import from_mask
from napari_uld.lesions.rle import decode
from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms
from napari_uld.training.data.phantom.truth import read_spacing, read_truth
from napari_uld.training.data.volume_dataset import TrueVolume, VolumeDataset, negative_bodies, true_volumes

INPUTS = InputSpec(volume=True, slices=16, slices_per_image=1, interval_mm=2, spacing_mm=1.6, long_side=64)


@pytest.fixture(scope="module")
def volumes(phantoms: Path) -> list[TrueVolume]:
    return true_volumes(phantoms, "train")


def test_boxes_are_tight_about_the_masks(volumes: list[TrueVolume], phantoms: Path) -> None:
    each = volumes[0]
    scan = each.read()
    for lesion, (x1, y1, z1, x2, y2, z2) in zip(read_truth(phantoms, each.series), each.boxes, strict=True):
        body = np.zeros(scan.shape, bool)
        for number, mask in lesion.masks.items():
            body[scan.z_of(number)] = decode(mask)
        z, y, x = np.nonzero(body)
        low, high = (np.array([of(x), of(y), of(z)]) for of in (np.min, np.max))
        assert [x1, y1, z1] == (low - 0.5).tolist()
        assert [x2, y2, z2] == (high + 0.5).tolist()


def test_a_crop_holds_the_centre_of_its_lesion(volumes: list[TrueVolume]) -> None:
    dataset = VolumeDataset(volumes, INPUTS)
    for index in range(0, len(dataset), 3):
        image, target = dataset[index]
        assert image.shape == (1, 16, 64, 64)
        assert len(target["boxes"])
        assert (target["boxes"][:, 3:] > target["boxes"][:, :3]).all()
        assert (target["boxes"] >= 0).all()
        assert (target["boxes"][:, 3:] <= torch.tensor([64, 64, 16])).all()


def test_an_epochs_crops_are_the_same_again_and_anothers_are_not(volumes: list[TrueVolume]) -> None:
    first, again = VolumeDataset(volumes, INPUTS), VolumeDataset(volumes, INPUTS)
    assert torch.equal(first[0][0], again[0][0])
    again.epoch = 1
    assert not torch.equal(first[0][0], again[0][0])


def test_flipped_boxes_lie_on_the_flipped_voxels(volumes: list[TrueVolume]) -> None:
    plain = VolumeDataset(volumes, INPUTS)
    flipped = VolumeDataset(volumes, INPUTS, training=TrainingSpec(horizontal_flip=1.0, vertical_flip=1.0))
    (image, target), (mirrored, of_mirrored) = plain[0], flipped[0]
    assert torch.equal(image.flip(2, 3), mirrored)
    x1, y1, z1, x2, y2, z2 = target["boxes"].unbind(1)
    assert torch.equal(of_mirrored["boxes"], torch.stack([64 - x2, 64 - y2, z1, 64 - x1, 64 - y1, z2], dim=1))


def test_lesions_are_as_large_as_their_longest_diameter_on_any_slice(volumes: list[TrueVolume], phantoms: Path) -> None:
    each = volumes[0]
    pixel = read_spacing(phantoms, each.series)[2]
    for lesion, box, diameter in zip(
        read_truth(phantoms, each.series), each.boxes, each.diameters / pixel, strict=True
    ):
        key = from_mask(decode(lesion.masks[lesion.key_slice])).diameters[0]
        sides = box[3:5] - box[:2]
        assert diameter > max(key, 0.9 * sides.max()) - 1e-6
        assert diameter < np.hypot(*sides)


def test_a_study_is_one_example_with_its_phases_as_channels(phases: Path) -> None:
    names = ("arterial", "portal venous")
    (study,) = true_volumes(phases, "train", names)
    assert (study.series, study.phases) == ("000002_01_01", ("000002_01_02", "000002_01_01"))
    several = VolumeDataset([study], INPUTS.model_copy(update={"phases": names}))
    alone = VolumeDataset(true_volumes(phases, "train"), INPUTS)
    assert len(several) == len(alone) == len(study.boxes)
    (image, target), (portal, of_portal) = several[0], alone[0]
    assert image.shape == (2, 16, 64, 64)
    assert torch.equal(image[1:], portal)
    assert not torch.equal(image[0], image[1])
    assert torch.equal(target["boxes"], of_portal["boxes"])


def test_flipped_phases_are_flipped_together(phases: Path) -> None:
    names = ("portal venous", "arterial")
    study, inputs = true_volumes(phases, "train", names), INPUTS.model_copy(update={"phases": names})
    (image, target) = VolumeDataset(study, inputs)[0]
    how = TrainingSpec(horizontal_flip=1.0)
    (mirrored, of_mirrored) = VolumeDataset(study, inputs, training=how)[0]
    assert torch.equal(image.flip(3), mirrored)
    assert torch.equal(of_mirrored["boxes"][:, 0], 64 - target["boxes"][:, 3])


def test_a_split_without_phantoms_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    one = finish(generate_phantoms(tmp_path / "one", 1, 3))
    with pytest.raises(DataError, match="no phantom of the split 'test': choose val, all with --split"):
        true_volumes(one, "test")


def test_there_are_no_volumes_of_a_split_without_phantoms(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "DL_info.csv").write_bytes((phantoms / "DL_info.csv").read_bytes())
    (tmp_path / "truth").mkdir()
    with pytest.raises(DataError, match="no phantom of the split"):
        true_volumes(tmp_path, "train")


def test_a_shift_along_z_is_refused_with_volumes_which_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "any", Family(DetectorSpec, SupervisionSpec, ""))
    tables = {"method": {"name": "x", "title": "X", "paper": "P"}, "detector": {"family": "any"}, "input": INPUTS}
    Recipe(**tables, training=TrainingSpec(rotation=0.1))
    with pytest.raises(ValueError, match="lie anywhere along z"):
        Recipe(**tables, training=TrainingSpec(z_shift=0.5))


def test_hard_negatives_are_where_their_file_says_and_crops_lie_about_them_too(
    volumes: list[TrueVolume], phantoms: Path, tmp_path: Path
) -> None:
    each = volumes[0]
    scan = each.read()
    # Of three slices, from the second native number of the scan on.
    low = int(min(scan.slice_numbers)) + 1
    write_findings(
        tmp_path / f"{each.series}.findings.json",
        Findings.from_rows(
            scan_id=scan.scan_id,
            scan_name=each.series,
            method="m",
            checkpoint="1",
            boxes=[[10, 20, 30, 40], [50, 60, 70, 80]],
            scores=[0.9, 0.8],
            key_slices=[low + 1, low + 1],
            slice_boxes=tuple(dict.fromkeys(range(low, low + 3), box) for box in ((10, 20, 30, 40),) * 2),
            depths=[[low - 0.5, low + 2.5]] * 2,
            negative=[True, False],
        ),
    )
    negatives = negative_bodies(tmp_path, volumes)
    last = scan.shape[0] - 1
    assert {series: boxes.tolist() for series, boxes in negatives.items()} == {
        each.series: [[10, 20, last - 3.5, 30, 40, last - 0.5]]
    }
    assert [scan.z_of(number) for number in (low, low + 2)] == [last - 1, last - 3]

    dataset = VolumeDataset(volumes, INPUTS, negatives=negatives)
    assert len(dataset) == len(VolumeDataset(volumes, INPUTS)) + 1
    _, target = dataset[len(dataset) - 1]
    assert len(target["negatives"]) == 1
    assert (target["negatives"][:, 3:] > target["negatives"][:, :3]).all()


def test_turned_crops_are_drawn_from_the_seed(volumes: list[TrueVolume]) -> None:
    plain = VolumeDataset(volumes, INPUTS)
    turned = VolumeDataset(volumes, INPUTS, training=TrainingSpec(rotation=0.3, scale=0.2, translation=0.1))
    (image, target), (moved, of_moved) = plain[0], turned[0]
    assert moved.shape == image.shape
    assert not torch.equal(moved, image)
    assert not torch.equal(of_moved["boxes"], target["boxes"])
    again = VolumeDataset(volumes, INPUTS, training=TrainingSpec(rotation=0.3, scale=0.2, translation=0.1))
    assert torch.equal(again[0][0], moved)
