"""An archive in DeepLesion's layout: its pixels, its accepted lesions, and names that stay."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_uld.ct import read_scan
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import DataError
from napari_uld.lesions.annotation_file import annotation_path, save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State
from napari_uld.lesions.recist import Recist
from napari_uld.progress import finish
from napari_uld.training.data.collect import Collection, collect
from napari_uld.training.data.key_slices import KeySlice, read_split

BOX = (20.0, 12.0, 40.0, 30.0)
RECIST = Recist(((25.0, 20.0), (35.0, 20.0)), ((30.0, 17.0), (30.0, 25.0)))
Make = Callable[..., CTVolume]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a scan of noise, and saves what was decided on it: a lesion on the slice next to its feet."""

    def make(place: str, *, state: State = State.ACCEPTED, seed: int = 0, slices: int = 6) -> CTVolume:
        path = tmp_path / "archive" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        body = np.full((slices, 48, 64), -1000, np.int16)
        body[:, 8:40, 8:56] = np.random.default_rng(seed).normal(40, 20, (slices, 32, 48))
        image = sitk.GetImageFromArray(body)
        image.SetSpacing((0.7, 0.8, 3.0))
        sitk.WriteImage(image, str(path))
        volume = read_scan(path)
        fields = {"recist": RECIST, "lesion_type": LesionType.LIVER, "source": Source.EDITED, "parent_id": "finding:1"}
        kept = Annotation("x", volume.scan_id, volume.native_slice(1), BOX, state=state, **fields)  # type: ignore[arg-type]
        not_kept = Annotation("y", volume.scan_id, volume.native_slice(3), BOX, state=State.REJECTED)
        rows = Annotations(volume.scan_id, [kept, not_kept])
        save_annotations(annotation_path(path), rows, scan_name=volume.name, scan_source=path.name)
        return volume

    return make


def collected(tmp_path: Path) -> Collection:
    return finish(collect(tmp_path / "archive", tmp_path / "out"))


def keys(tmp_path: Path) -> dict[str, KeySlice]:
    return {key.series: key for key in read_split(tmp_path / "out", "all", tuple(Source)).slices}


def test_pixels_spacing_and_accepted_lesions_are_what_they_were(make: Make, tmp_path: Path) -> None:
    volume = make("a.nii.gz")
    assert collected(tmp_path) == Collection(1, 1, {})
    back = read_scan(tmp_path / "out" / "Images_png" / "000001_01_01")
    assert np.array_equal(back.hu, volume.hu)
    assert back.spacing == pytest.approx(volume.spacing)
    (key,) = keys(tmp_path).values()
    assert back.z_of(key.number) == 1
    assert key.boxes.tolist() == [list(BOX)]
    assert key.recists == (RECIST,)
    assert (key.sources, key.types) == ((Source.EDITED,), (LesionType.LIVER,))


def test_scans_of_one_folder_are_one_patient_and_one_patient_of_five_is_validated_on(
    make: Make, tmp_path: Path
) -> None:
    for number in range(6):
        make(f"patient {number}/ct.nii.gz", seed=2 * number)
        make(f"patient {number}/later/ct.nii.gz", seed=2 * number + 1)
    assert collected(tmp_path).scans == 12
    parts = {split: annotated(tmp_path, split) for split in ("train", "val")}
    assert len(parts["train"] | parts["val"]) == 12
    patients = {split: {series.split("_")[0] for series in names} for split, names in parts.items()}
    assert (len(patients["train"]), len(patients["val"])) == (4, 2)
    assert not patients["train"] & patients["val"]


def annotated(tmp_path: Path, split: str) -> set[str]:
    return {key.series for key in read_split(tmp_path / "out", split).slices}  # type: ignore[arg-type]


def test_what_comes_later_changes_no_name_and_no_split(make: Make, tmp_path: Path) -> None:
    first = make("m.nii.gz", seed=1)
    make("n.nii.gz", seed=2)
    collected(tmp_path)
    before = {split: annotated(tmp_path, split) for split in ("train", "val")}
    make("a.nii.gz", seed=3)
    collected(tmp_path)
    assert np.array_equal(read_scan(tmp_path / "out" / "Images_png" / "000001_01_01").hu, first.hu)
    assert {split: annotated(tmp_path, split) - {"000003_01_01"} for split in before} == before
    assert set(keys(tmp_path)) == {"000001_01_01", "000002_01_01", "000003_01_01"}


def test_lesions_of_another_archive_stay_and_those_rejected_since_go(make: Make, tmp_path: Path) -> None:
    make("a.nii.gz", seed=1)
    make("b.nii.gz", seed=2)
    collected(tmp_path)
    before = (tmp_path / "out" / "DL_info.csv").read_text().splitlines()
    (tmp_path / "archive").rename(tmp_path / "first")
    make("c.nii.gz", seed=3)
    assert collected(tmp_path) == Collection(1, 1, {})
    assert set(before) < set((tmp_path / "out" / "DL_info.csv").read_text().splitlines())
    make("a.nii.gz", seed=1, state=State.REJECTED)
    collected(tmp_path)
    assert set(keys(tmp_path)) == {"000002_01_01", "000003_01_01"}


def test_scans_without_an_accepted_lesion_and_those_that_do_not_fit_are_left_out_and_said(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a.nii.gz")
    make("b.nii.gz", state=State.PENDING, seed=1)
    make("c.nii.gz", slices=9, seed=2)
    monkeypatch.setattr("napari_uld.training.data.collect.MOST_SLICES", 8)
    left_out = collected(tmp_path).left_out
    assert left_out["b"] == "no accepted lesion"
    assert "9 slices" in left_out["c"]
    assert len(keys(tmp_path)) == 1


def test_where_no_scan_fits_it_is_said_why_and_not_that_nothing_was_accepted(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a.nii.gz", state=State.PENDING)
    make("c.nii.gz", slices=9, seed=2)
    monkeypatch.setattr("napari_uld.training.data.collect.MOST_SLICES", 8)
    with pytest.raises(DataError, match="no scan that can be collected; c: it has 9 slices"):
        collected(tmp_path)


def test_nothing_to_collect_and_a_folder_with_another_table_are_refused(make: Make, tmp_path: Path) -> None:
    make("a.nii.gz", state=State.REJECTED)
    with pytest.raises(DataError, match="no scan with an accepted lesion"):
        collected(tmp_path)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "DL_info.csv").touch()
    with pytest.raises(DataError, match="was not collected"):
        collected(tmp_path)
