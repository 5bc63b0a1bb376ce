"""Scoring by every protocol what any program saved."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.errors import DataError
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.inference.volumes import VolumeDetections
from napari_uld.lesions.box_table import Margin
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.lesions.recist import from_mask
from napari_uld.lesions.rle import decode
from napari_uld.progress import Work, finish
from napari_uld.training import evaluate, volume_protocols
from napari_uld.training.data.key_slices import split_series, true_slices
from napari_uld.training.data.lesion_free import lesion_free_slices
from napari_uld.training.data.phantom.truth import TrueLesion, read_spacing, read_truth
from napari_uld.training.data.volume_dataset import true_volumes
from napari_uld.training.evaluate import evaluate_subject
from napari_uld.training.scoring import Evaluation, difference


def findings_of(series: str, lesions: list[TrueLesion], scores: list[float] | None = None) -> Findings:
    """Findings that are the truth, on every slice."""
    return Findings.from_rows(
        scan_id=series,
        scan_name=series,
        method="perfect",
        checkpoint="none",
        boxes=[each.boxes[each.key_slice] for each in lesions],
        scores=scores or [0.5] * len(lesions),
        key_slices=[each.key_slice for each in lesions],
        slice_boxes=tuple(each.boxes for each in lesions),
    )


@pytest.fixture
def folder(phantoms: Path, tmp_path: Path) -> Path:
    """A folder of findings that are the truth of every scan."""
    found = tmp_path / "found"
    found.mkdir()
    for series in split_series(phantoms, "all"):
        write_findings(found / f"{series}.findings.json", findings_of(series, read_truth(phantoms, series)))
    return found


def scored(subject: Path | str, data: Path, **how: object) -> Evaluation:
    return finish(evaluate_subject(str(subject), data, how.pop("split", "all"), **how))  # type: ignore[arg-type]


@pytest.mark.parametrize(("protocol", "rates"), [("p3d", 7), ("3d", 8), ("lens", 7)])
def test_traced_findings_that_are_the_truth_are_all_found_in_volumes(
    phantoms: Path, folder: Path, protocol: str, rates: int
) -> None:
    evaluation = scored(folder, phantoms, protocol=protocol)
    lesions = [lesion for series in split_series(phantoms, "all") for lesion in read_truth(phantoms, series)]
    assert evaluation.curve.values.tolist() == [1] * rates
    content = evaluation.to_dict()
    assert (content["protocol"], content["volumes"], content["lesions"]) == (protocol, 8, len(lesions))
    assert content["boxes"] == "padded boxes"
    assert content["true_positives"] == [len(lesions)] * rates
    assert "images" not in content
    parts = content["by_type"].values()
    assert sum(part["lesions"] for part in parts) == sum(part["lesions"] for part in content["by_size"].values())
    assert all(part["sensitivity"] == [1] * rates for part in parts)


def test_bodies_are_as_large_as_their_longest_diameter_on_any_slice(phantoms: Path, folder: Path) -> None:
    sizes = []
    for series in split_series(phantoms, "all"):
        pixel = read_spacing(phantoms, series)[2]
        for lesion in read_truth(phantoms, series):
            measured = (from_mask(decode(mask)) for mask in lesion.masks.values())
            sizes.append(max(recist.diameters[0] for recist in measured) * pixel)
    by_size = scored(folder, phantoms, protocol="3d").by_size
    small, large = (np.array(sizes) < 20).sum(), (np.array(sizes) > 50).sum()
    assert 0 < small < len(sizes)
    assert by_size["< 2 cm"].lesions == small
    assert (by_size["> 5 cm"].lesions if "> 5 cm" in by_size else 0) == large


def test_image_by_image_and_by_cocos_count_the_same_findings_are_all_found(phantoms: Path, folder: Path) -> None:
    evaluation = scored(folder, phantoms, protocol="coco")
    assert evaluation.coco is not None
    assert (evaluation.coco.ap, evaluation.coco.ap50, evaluation.ap) == (1, 1, 1)
    content = evaluation.to_dict()
    assert (content["images"], content["ap50"]) == (len(true_slices(phantoms, "all")), 1)


def test_scans_that_nobody_looked_at_are_left_out_and_said(phantoms: Path, folder: Path) -> None:
    first, *_ = sorted(folder.iterdir())
    first.unlink()
    evaluation = scored(folder, phantoms, protocol="p3d")
    assert (evaluation.images, evaluation.curve.values.tolist()) == (7, [1] * 7)
    assert "found is of 7 of the 8 to score on" in evaluation.left_out


def test_slices_without_a_lesion_count_where_they_are_asked_for(phantoms: Path, folder: Path) -> None:
    free = lesion_free_slices(phantoms, "all")
    without, with_free = scored(folder, phantoms), scored(folder, phantoms, lesion_free=True)
    assert (without.lesion_free, with_free.lesion_free) == (0, len(free))
    assert with_free.images == without.images + len(free)
    # A false positive on a slice without a lesion is one only there.
    series = free[0].series
    lesions = read_truth(phantoms, series)
    findings = findings_of(series, lesions)
    wrong = Findings.from_rows(
        scan_id=series,
        scan_name=series,
        method="wrong",
        checkpoint="none",
        boxes=[[100, 100, 120, 120]],
        scores=[0.9],
        key_slices=[free[0].number],
    )
    assert findings.scan_name == wrong.scan_name
    write_findings(folder / "wrong.findings.json", wrong)
    again, again_free = scored(folder, phantoms), scored(folder, phantoms, lesion_free=True)
    assert again.curve.fp_per_image[-1] == 0
    assert again_free.curve.fp_per_image[-1] == pytest.approx(1 / again_free.images)


def test_a_detector_is_traced_by_sort_through_whole_volumes(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = SimpleNamespace(inputs=InputSpec(), tight=False, info=SimpleNamespace(name="toy", operating_point=None))
    monkeypatch.setattr(evaluate, "load_checkpoint", lambda *_: detector)

    def every_slice(volume: CTVolume, _: object, floor: float) -> Work[Findings]:
        assert floor == 0
        lesions = read_truth(phantoms, volume.name)
        rows = [
            (n, box, 0.9 if n == lesion.key_slice else 0.001) for lesion in lesions for n, box in lesion.boxes.items()
        ]
        yield from ()
        return Findings.from_rows(
            scan_id=volume.name,
            scan_name=volume.name,
            method="toy",
            checkpoint="none",
            boxes=[box for _, box, _ in rows],
            scores=[score for *_, score in rows],
            key_slices=[n for n, *_ in rows],
        )

    monkeypatch.setattr("napari_uld.inference.detect.detect_on_every_slice", every_slice)
    evaluation = scored("faster_rcnn", phantoms, protocol="p3d")
    assert evaluation.curve.values.tolist() == [1] * 7
    assert evaluation.boxes == "padded boxes"
    # A trace is scored by its highest slice, and slices that are joined to it are no false positives.
    assert evaluation.curve.scores[0] == 0.9
    slices = [len(each.boxes) for name in split_series(phantoms, "all") for each in read_truth(phantoms, name)]
    assert evaluation.curve.fp_per_image[-1] * 8 < 0.5 * (sum(slices) - len(slices))


def test_bodies_reach_by_the_protocol_what_they_reach_without_naming_it(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_volumes = InputSpec(volume=True, slices=8, slices_per_image=1)
    info = SimpleNamespace(name="toy", digest="none", operating_point=None)
    monkeypatch.setattr(
        evaluate, "load_checkpoint", lambda *_: SimpleNamespace(inputs=in_volumes, tight=True, info=info)
    )
    true = {each.series: each.boxes for each in true_volumes(phantoms, "all")}

    def moved(volume: CTVolume, _: object) -> Iterator[object]:
        yield from ()
        boxes = true[volume.name]
        rng = np.random.default_rng(len(boxes))
        shaken = boxes + rng.normal(0, 1.5, boxes.shape)
        shaken[:, 3:] = np.maximum(shaken[:, 3:], shaken[:, :3] + 0.2)
        return VolumeDetections(shaken, rng.permutation(len(boxes)) / 100, None)

    monkeypatch.setattr(volume_protocols, "run_volume", moved)
    plain = scored("vld_acs_spr", phantoms, rates=(0.5, 1.0, 2.0))
    named = scored("vld_acs_spr", phantoms, rates=(0.5, 1.0, 2.0), protocol="3d")
    assert 0 < plain.curve.sensitivity[-1] < 1
    assert plain.judging is PROTOCOLS["3d"]
    assert named.curve.values.tolist() == plain.curve.values.tolist()
    lesions = [{name: part.lesions for name, part in each.by_size.items()} for each in (plain, named)]
    assert lesions[0] == lesions[1]
    assert sum(lesions[0].values()) == plain.lesions
    assert (named.ap, named.images, named.boxes) == (plain.ap, plain.images, "tight boxes")


def test_tight_boxes_are_measured_on_phantoms_tight_truth(phantoms: Path, tmp_path: Path) -> None:
    series = split_series(phantoms, "all")[0]
    (volume,) = [each for each in true_volumes(phantoms, "all") if each.series == series]
    depths = volume.boxes[:, [2, 5]]
    # z counts from the feet, native numbers from the head.
    numbers = volume.read().slice_numbers
    native = np.sort(numbers[0] + (numbers[1] - numbers[0]) * depths, axis=1)
    keys = np.round(native.mean(axis=1)).astype(int)
    findings = Findings.from_rows(
        scan_id=series,
        scan_name=series,
        method="perfect",
        checkpoint="none",
        boxes=volume.boxes[:, [0, 1, 3, 4]],
        scores=[0.5] * len(keys),
        key_slices=keys,
        depths=native,
    )
    path = tmp_path / "x.findings.json"
    write_findings(path, findings)
    evaluation = scored(path, phantoms, protocol="3d")
    assert (evaluation.curve.values.tolist(), evaluation.ap, evaluation.boxes) == ([1] * 8, 1, "tight boxes")
    with pytest.raises(DataError, match="are tight, those of .* padded"):
        scored(path, phantoms, protocol="image")
    assert scored(path, phantoms, protocol="image", margin=Margin.PADDED).boxes == "padded boxes"


def coco_files(tmp_path: Path) -> tuple[Path, Path]:
    """Two images of which the second has no lesion, and results that find the lesion and one more thing."""
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    images = [
        {"id": 9, "file_name": "000001_01_01/005.png", "width": 512, "height": 512},
        {"id": 4, "file_name": "b.png", "width": 512, "height": 512},
    ]
    boxes = [
        {"image_id": 9, "bbox": [10, 10, 20, 20], "category_id": 1},
        {"image_id": 9, "bbox": [300, 10, 20, 20], "category_id": 1, "noisy": 1},
    ]
    truth.write_text(json.dumps({"images": images, "annotations": boxes}))
    found = [
        {"image_id": 9, "category_id": 1, "bbox": [10, 10, 20, 18], "score": 0.5},
        {"image_id": 4, "category_id": 1, "bbox": [50, 50, 20, 20], "score": 0.9},
    ]
    results.write_text(json.dumps(found))
    return truth, results


def test_coco_results_are_scored_on_coco_truth_with_its_empty_images_and_without_noisy_boxes(tmp_path: Path) -> None:
    truth, results = coco_files(tmp_path)
    evaluation = scored(results, truth, protocol="image", rates=(0.25, 0.5))
    assert (evaluation.images, evaluation.lesions, evaluation.lesion_free) == (2, 1, 1)
    # The false positive comes first: half a one an image, then the lesion.
    assert evaluation.curve.values.tolist() == [0, 1]
    assert evaluation.ap == 0.5
    coco = scored(results, truth, protocol="coco")
    # IoU .9: right at nine of ten thresholds, at a precision of a half.
    assert coco.ap == pytest.approx(0.9 * 0.5)
    assert scored(truth, truth, protocol="coco").ap == 1


def test_findings_are_scored_on_coco_truth_by_the_names_of_its_images(tmp_path: Path) -> None:
    truth, _ = coco_files(tmp_path)
    path = tmp_path / "x.findings.json"
    findings = Findings.from_rows(
        scan_id="a",
        scan_name="000001_01_01_001-009",
        method="m",
        checkpoint="c",
        boxes=[[10, 10, 30, 30]],
        scores=[0.5],
        key_slices=[5],
    )
    write_findings(path, findings)
    evaluation = scored(path, truth, protocol="image")
    assert (evaluation.images, evaluation.curve.values.tolist()) == (1, [1] * 4)


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ([{"image_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}], "result 1: found the image 1"),
        ([{"image_id": 9, "bbox": [1, 1, -2, 2], "score": 0.5}], "required x, y, width and height"),
        ([{"image_id": 9, "bbox": [1, 1, 2], "score": 0.5}], "result 1, field bbox"),
        ([{"image_id": 9, "bbox": [1, 1, 2, 2]}], "result 1, field score"),
    ],
)
def test_results_that_do_not_fit_name_the_result(tmp_path: Path, results: list[object], sentence: str) -> None:
    truth, path = coco_files(tmp_path)
    path.write_text(json.dumps(results))
    with pytest.raises(Exception, match=sentence):
        scored(path, truth, protocol="image")


def test_coco_results_need_the_file_that_numbers_their_images(phantoms: Path, tmp_path: Path) -> None:
    _, results = coco_files(tmp_path)
    with pytest.raises(DataError, match="true boxes as --data"):
        scored(results, phantoms, protocol="image")


VOLUME = "000001_01_01_103-115"


def pickled(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "protocol", "sentence"),
    [
        ({VOLUME: {0: [[1, 1, 9, 9, 0, 0]]}}, "3d", "--protocol p3d or image"),
        ({VOLUME: [[1, 1, 9, 9, 0, 1]]}, "p3d", "--protocol 3d or lens"),
        ({VOLUME: [[1, 1, 9, 9, 0, 1]]}, "image", "--protocol 3d or lens"),
    ],
)
def test_a_truth_that_a_protocol_cannot_use_names_one_that_can(
    tmp_path: Path, content: object, protocol: str, sentence: str
) -> None:
    path = pickled(tmp_path / "x.pkl", content)
    with pytest.raises(DataError, match=sentence):
        scored(path, path, protocol=protocol)


def test_a_checkpoint_on_an_annotation_file_needs_the_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = SimpleNamespace(inputs=InputSpec(), tight=False, info=SimpleNamespace(name="toy", operating_point=None))
    monkeypatch.setattr(evaluate, "load_checkpoint", lambda *_: detector)
    path = pickled(tmp_path / "x.pkl", {VOLUME: {0: [[1, 1, 9, 9, 0, 0]]}})
    with pytest.raises(DataError, match="as --images"):
        scored("faster_rcnn", path, protocol="p3d")
    with pytest.raises(DataError, match="holds no scans to detect on"):
        scored("faster_rcnn", path, protocol="image", images=tmp_path)
    with pytest.raises(DataError, match=f"0 of the 13 slices of {VOLUME}"):
        scored("faster_rcnn", path, protocol="p3d", images=tmp_path)


@pytest.mark.parametrize("option", ["annotated", "lesion_free"])
def test_volumes_take_no_options_about_key_slices(phantoms: Path, folder: Path, option: str) -> None:
    with pytest.raises(DataError, match="about key slices"):
        scored(folder, phantoms, protocol="p3d", **{option: True})


def test_volumes_without_every_lesion_are_no_truth(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="does not hold every lesion"):
        scored(folder, tmp_path, protocol="p3d")


def test_two_methods_differ_with_the_interval_of_the_same_patients(
    phantoms: Path, folder: Path, tmp_path: Path
) -> None:
    worse = tmp_path / "worse"
    worse.mkdir()
    for series in split_series(phantoms, "all"):
        lesions = read_truth(phantoms, series)
        write_findings(worse / f"{series}.findings.json", findings_of(series, lesions[: len(lesions) // 2]))
    one, other = scored(folder, phantoms, protocol="p3d"), scored(worse, phantoms, protocol="p3d")
    better = difference(one, other)
    assert better.values[-2] == pytest.approx(1 - other.curve.average)
    assert better.values[-1] == pytest.approx(1 - other.ap)
    assert all(
        0 < low <= value <= high for low, value, high in zip(better.low, better.values, better.high, strict=True)
    )
    assert difference(one, one).low == difference(one, one).high == (0,) * 9
    next(iter(worse.iterdir())).unlink()
    with pytest.raises(DataError, match="on the same scans"):
        difference(one, scored(worse, phantoms, protocol="p3d"))
