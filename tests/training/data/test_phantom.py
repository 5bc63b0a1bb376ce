"""Phantoms: the same seed gives the same files, laid out as DeepLesion is, and the truth fits the images."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_uld.ct.deeplesion import read_slices
from napari_uld.errors import DataError
from napari_uld.evaluation.overlaps import iou
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import decode
from napari_uld.progress import Progress, finish
from napari_uld.training.data.phantom import generate_phantoms, read_truth, truth_series, write
from napari_uld.training.data.phantom.lesions import Lesion, image
from napari_uld.training.data.phantom.palette import Material
from napari_uld.training.data.phantom.study import draw_study

SEED = 4  # its first three patients have thick slices, which are quickest
SAMPLE = Path(__file__).parents[3] / "sample_data" / "phantom"
# Of three patients of seed 4, and of two of seed 9 in two phases.
OLD_DIGESTS = [
    "8e40b8ba5b0ab4e9a3909c0def0a8c1e82315f7bdeb8a4ea69bccf81d711e87c",
    "5e5616e65a7ca93047d24bb3b0033d5e7bfd18d3f10cffa24638cbc6ea8f3a48",
]
REAL_CSV = Path(__file__).parents[4] / "shared" / "data" / "deeplesion" / "DL_info.csv"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(generate_phantoms(tmp_path_factory.mktemp("phantoms") / "out", 3, SEED))


def hashes(root: Path, series: list[str]) -> dict[str, str]:
    files = [root / "truth" / f"{s}.json" for s in series]
    files += [png for s in series for png in sorted((root / "Images_png" / s).iterdir())]
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def digest(root: Path) -> str:
    """One hash of all files in a folder and of their names."""
    whole = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        whole.update(path.relative_to(root).as_posix().encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "DL_info.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def numbers(field: str) -> list[float]:
    return [float(v) for v in field.split(",")]


def test_files_are_the_same_whatever_the_number_of_workers_and_patients(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = 1 if write.worker_count() > 1 else 2
    monkeypatch.setattr(write, "worker_count", lambda: workers)
    again = finish(generate_phantoms(tmp_path / "again", 2, SEED))
    series = truth_series(again)
    assert series == ["000001_01_01", "000002_01_01"]
    assert hashes(again, series) == hashes(phantoms, series)


def test_the_sample_study_is_what_its_seed_gives_to_this_day(tmp_path: Path) -> None:
    about = json.loads((SAMPLE / "phantom.json").read_text(encoding="utf-8"))
    again = finish(generate_phantoms(tmp_path / "again", 1, about["seed"]))
    files = sorted(path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file())
    assert sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file()) == files
    assert [str(path) for path in files if (again / path).read_bytes() != (SAMPLE / path).read_bytes()] == []


def test_old_seeds_give_the_files_that_they_gave_before_studies_could_be_longer(phantoms: Path, tmp_path: Path) -> None:
    two_phases = finish(generate_phantoms(tmp_path / "two", 2, 9, phases=2))
    assert [digest(root) for root in (phantoms, two_phases)] == OLD_DIGESTS


def test_a_longer_study_holds_more_slices_and_as_many_lesions_a_millimetre(tmp_path: Path) -> None:
    out = finish(generate_phantoms(tmp_path / "long", 2, SEED, extent=300.0))
    for series in truth_series(out):
        assert len(list((out / "Images_png" / series).iterdir())) == 61
        keys = np.array([lesion.key_slice for lesion in read_truth(out, series)])
        # Four to eight a sixty millimetres, less what shows on no slice.
        assert 15 <= len(keys) <= 40
        first, last = (int(v) for v in numbers(rows(out)[0]["Slice_range"]))
        assert last - first == 60
        fifths = np.histogram(keys, bins=5, range=(keys.min(), keys.max()))[0]
        assert (fifths > 0).all()
    with pytest.raises(DataError, match="holds other phantoms"):
        finish(generate_phantoms(out, 2, SEED))
    assert finish(generate_phantoms(out, 2, SEED, extent=300.0)) == out


def test_a_study_that_reaches_the_hips_shows_what_every_region_is_made_of() -> None:
    labels = draw_study(SEED, 1, 1, 500.0).labels
    of_regions = (Material.LUNG, Material.HEART_WALL, Material.LIVER, Material.KIDNEY_CORTEX, Material.PELVIC_FAT)
    seen = [np.flatnonzero((labels == material).any(axis=(1, 2))) for material in of_regions]
    assert all(len(slices) > 5 for slices in seen)
    # From head to feet.
    assert (np.diff([slices.mean() for slices in seen]) > 0).all()


@pytest.mark.parametrize("extent", [59.0, 526.0, float("nan")])
def test_an_extent_that_the_body_does_not_have_is_refused(tmp_path: Path, extent: float) -> None:
    with pytest.raises(DataError, match="covers 60 to 525 mm"):
        finish(generate_phantoms(tmp_path / "out", 1, 1, extent=extent))


def test_a_finished_series_is_kept_and_a_missing_one_is_made_again(phantoms: Path) -> None:
    before = hashes(phantoms, truth_series(phantoms))
    table = (phantoms / "DL_info.csv").read_bytes()
    kept = phantoms / "truth" / "000001_01_01.json"
    written = kept.stat().st_mtime_ns
    (phantoms / "truth" / "000002_01_01.json").unlink()
    steps: list[Progress] = []
    finish(generate_phantoms(phantoms, 3, SEED), steps.append)
    assert steps[0].done == 2
    assert steps[-1].done == steps[-1].total == 3
    assert kept.stat().st_mtime_ns == written
    assert hashes(phantoms, truth_series(phantoms)) == before
    assert (phantoms / "DL_info.csv").read_bytes() == table


def test_another_seed_or_a_foreign_folder_is_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds other phantoms"):
        finish(generate_phantoms(phantoms, 3, SEED + 1))
    with pytest.raises(DataError, match="holds other phantoms"):
        finish(generate_phantoms(phantoms, 3, SEED, phases=2))
    with pytest.raises(DataError, match="more than the 2 asked for"):
        finish(generate_phantoms(phantoms, 2, SEED))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        finish(generate_phantoms(tmp_path, 1, SEED))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    for patients, seed, phases in ((0, 1, 1), (1, -1, 1), (1, 1, 0), (1, 1, 5)):
        with pytest.raises(DataError, match="at least 1 patient"):
            finish(generate_phantoms(tmp_path / "out", patients, seed, phases=phases))


def test_missing_or_damaged_truth_is_named(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"000009_01_01\.json"):
        read_truth(phantoms, "000009_01_01")
    with pytest.raises(DataError, match="no folder truth"):
        truth_series(tmp_path)
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "bad.json").write_text('{"size": 512, "lesions": [{"slices": []}]}')
    with pytest.raises(DataError, match="damaged"):
        read_truth(tmp_path, "bad")


@pytest.mark.skipif(not REAL_CSV.is_file(), reason="needs the shared DeepLesion table")
def test_the_header_is_deeplesions() -> None:
    with REAL_CSV.open(encoding="utf-8") as stream:
        assert stream.readline().strip() == write.COLUMNS


def test_the_table_lists_the_listed_lesions_one_based(phantoms: Path) -> None:
    listed = {
        (s, lesion.key_slice, tuple(np.round(lesion.boxes[lesion.key_slice], 2)))
        for s in truth_series(phantoms)
        for lesion in read_truth(phantoms, s)
        if lesion.listed
    }
    found = set()
    for row in rows(phantoms):
        assert list(row) == write.COLUMNS.split(",")
        series, png = row["File_name"].rsplit("_", 1)
        assert (phantoms / "Images_png" / series / png).is_file()
        box = np.array(numbers(row["Bounding_boxes"])) - 1
        found.add((series, int(row["Key_slice_index"]), tuple(np.round(box, 2))))
        points = np.array(numbers(row["Measurement_coordinates"])).reshape(4, 2) - 1
        expected = [*(points.min(axis=0) - 5), *(points.max(axis=0) + 5)]
        np.testing.assert_allclose(box, expected, atol=2e-3)
        np.testing.assert_allclose(
            numbers(row["Lesion_diameters_Pixel_"]), Recist.from_points(points).diameters, atol=2e-3
        )
        assert row["Coarse_lesion_type"] == "-1" or row["Train_Val_Test"] != "1"
    assert {(s, k, tuple(float(v) for v in b)) for s, k, b in found} == {
        (s, k, tuple(float(v) for v in b)) for s, k, b in listed
    }


def test_the_deeplesion_reader_reads_them(phantoms: Path) -> None:
    row = rows(phantoms)[0]
    series, (first, last) = row["File_name"].rsplit("_", 1)[0], (int(v) for v in numbers(row["Slice_range"]))
    scan = read_slices(phantoms, series, range(first, last + 1))
    assert scan.hu.shape == (13, 512, 512)
    assert scan.spacing[0] == pytest.approx(5.0)
    assert -3024 <= scan.hu.min() <= -1000
    assert 300 < scan.hu.max() <= 3071  # bone
    png = cv2.imread(str(phantoms / "Images_png" / series / f"{first:03d}.png"), cv2.IMREAD_UNCHANGED)
    assert png.dtype == np.uint16


def test_half_of_the_lesions_are_listed(phantoms: Path) -> None:
    for series in truth_series(phantoms):
        lesions = read_truth(phantoms, series)
        listed = sum(lesion.listed for lesion in lesions)
        assert 2 <= len(lesions) <= 8
        assert abs(2 * listed - len(lesions)) <= 1


def test_measurements_lie_on_their_masks_and_boxes_fit_them(phantoms: Path) -> None:
    for series in truth_series(phantoms):
        raw = json.loads((phantoms / "truth" / f"{series}.json").read_text())["lesions"]
        for lesion, source in zip(read_truth(phantoms, series), raw, strict=True):
            areas = {}
            for part in source["slices"]:
                number = part["slice"]
                ys, xs = np.nonzero(decode(lesion.masks[number]))
                points = np.array(part["recist"])
                # Chords run between pixel centres, half a pixel off at most across the long diameter.
                assert (points >= np.array([xs.min(), ys.min()]) - 1).all()
                assert (points <= np.array([xs.max(), ys.max()]) + 1).all()
                box = np.array(lesion.boxes[number])
                np.testing.assert_allclose(box, [*(points.min(0) - 5), *(points.max(0) + 5)], atol=1e-3)
                # A disc measured along its diagonals has a RECIST box of half its own box's area: no box is worse.
                own = np.array([[xs.min() - 5, ys.min() - 5, xs.max() + 5, ys.max() + 5]], dtype=float)
                assert iou(own, box[None])[0, 0] > 0.5
                areas[number] = len(xs)
            assert areas[lesion.key_slice] == max(areas.values())
            assert sorted(areas) == list(range(int(lesion.box[2]), int(lesion.box[5]) + 1))
            boxes = np.array(list(lesion.boxes.values()))
            np.testing.assert_allclose(lesion.box[:2], boxes[:, :2].min(axis=0))
            np.testing.assert_allclose(lesion.box[3:5], boxes[:, 2:].max(axis=0))


def test_of_every_twenty_patients_fourteen_train_three_validate_and_three_test() -> None:
    for first in (1, 21):
        splits = [write.split(7, p) for p in range(first, first + 20)]
        assert [splits.count(k) for k in (1, 2, 3)] == [14, 3, 3]


def ball(radius: float) -> Lesion:
    return Lesion(
        LesionType.LIVER, int(Material.LIVER), (0.0, 0.0, 100.0), np.full(3, radius), np.eye(3), np.ones((1, 3)),
        np.zeros(1), np.zeros(1), -40.0, 0.5, 0.0,
    )  # fmt: skip


def test_a_thick_slice_averages_over_its_thickness() -> None:
    # A ball of radius 4 mm in the middle of a 5 mm slice reaches 1.5 mm into each neighbour: .3 of the axis' voxel.
    imaged = image(ball(4.0), 0.5, 5.0, 95.0, 3, 33)
    assert imaged is not None
    middle = imaged.share[:, 16 - imaged.low[1], 16 - imaged.low[2]]
    np.testing.assert_allclose(middle, [0.3, 1.0, 0.3], atol=0.1)
    assert [int(imaged.mask(z, 33).sum()) > 0 for z in range(3)] == [False, True, False]
    # Off the axis the ball is shorter: at 3.5 mm it spans 2 sqrt(4^2 - 3.5^2) = 3.87 of the slice's 5 mm.
    assert imaged.share[1, 16 - imaged.low[1], 16 + 7 - imaged.low[2]] == pytest.approx(0.77, abs=0.1)


def test_a_thin_slices_mask_is_the_cross_section() -> None:
    imaged = image(ball(6.0), 0.5, 1.0, 90.0, 21, 41)
    assert imaged is not None
    for z, offset in ((10, 0.0), (14, 4.0)):
        area = imaged.mask(z, 41).sum() * 0.25
        assert area == pytest.approx(np.pi * (36 - offset**2), rel=0.06)


def test_phases_share_anatomy_and_lesions_but_not_enhancement() -> None:
    study, alone = draw_study(SEED, 1, 3), draw_study(SEED, 1, 1)
    np.testing.assert_array_equal(study.clean[0], alone.clean[0])
    assert len(study.lesions) == len(alone.lesions) > 0
    for a, b in zip(study.lesions, alone.lesions, strict=True):
        np.testing.assert_array_equal(a.imaged.share, b.imaged.share)
    where = study.labels == Material.ARTERY
    portal, arterial, plain = (float(np.median(phase[where])) for phase in study.clean)
    assert arterial > portal + 40
    assert portal > plain + 40
    fat = study.labels == Material.FAT
    assert np.median(study.clean[0][fat]) == np.median(study.clean[2][fat])


def test_a_lesion_has_the_hu_that_the_truth_gives_it() -> None:
    study = draw_study(SEED, 2, 1)
    images = np.stack(list(study.images(0, np.random.default_rng(0))))
    for marked in study.lesions:
        inner = cv2.erode(marked.masks[marked.key].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        if inner.sum() < 20:
            continue
        seen = float(np.median(images[marked.key][inner]))
        assert seen == pytest.approx(marked.lesion.hu(study.palette, 0) + min(marked.lesion.core, 0) / 2, abs=25)
