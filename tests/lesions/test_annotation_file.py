import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import AnnotationFileError, FileChangedError
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import (
    SCHEMA_PATH,
    annotation_path,
    has_annotations,
    lesion_from_json,
    lesion_to_json,
    read_annotations,
    save_annotations,
    schema,
)
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State
from napari_uld.lesions.json_models import LesionFileModel, LesionModel, NewerVersionError, dump, parse, parse_file
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle

FULL = Annotation(
    id="lesion:1",
    scan_id="1.2.3",
    key_slice=88,
    box=(6.25, 7.0, 22.0, 25.5),
    recist=Recist(((11, 12), (17, 20)), ((13, 18), (16, 15.125))),
    mask=Rle((2, 3), (0, 2, 4)),
    lesion_type=LesionType.SOFT_TISSUE,
    noisy=True,
    source=Source.EDITED,
    state=State.REJECTED,
    parent_id="finding:9",
    score=0.1,
    detector="faster_rcnn 0123abcd",
    reviewer='Ann "A" Łuk\n[\n1\n]',
    time="2026-01-02T03:04:05+00:00",
    comment="calcified, „old“",
)
BARE = Annotation("lesion:2", "1.2.3", -3, (0.0, 0.0, 0.0, 0.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "case.lesions.json"
    save(file, FULL, BARE)
    return file


def save(file: Path, *rows: Annotation, read_fingerprint: str | None = None) -> str:
    table = Annotations("1.2.3", rows)
    return save_annotations(file, table, scan_name="Case", scan_source="case.nii.gz", read_fingerprint=read_fingerprint)


def test_every_field_comes_back(path: Path) -> None:
    found = read_annotations(path)
    assert list(found.annotations) == [FULL, BARE]
    assert (found.annotations.scan_id, found.scan_name, found.scan_source) == ("1.2.3", "Case", "case.nii.gz")
    assert (found.recovered_from, found.message) == (None, "")
    assert found.fingerprint == storage.fingerprint(path)


finite = st.floats(-1e6, 1e6)


@settings(max_examples=50)
@given(
    low=st.tuples(finite, finite),
    size=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    points=st.none() | st.lists(finite, min_size=8, max_size=8),
    text=st.text(st.characters(exclude_categories=["Cs"])),
    score=st.none() | finite,
    state=st.sampled_from(State),
    kind=st.sampled_from(LesionType),
)
def test_any_lesion_comes_back_from_its_json(
    low: tuple[float, float],
    size: tuple[float, float],
    points: list[float] | None,
    text: str,
    score: float | None,
    state: State,
    kind: LesionType,
) -> None:
    lesion = Annotation(
        id="lesion:1",
        scan_id="s",
        key_slice=5,
        box=(low[0], low[1], low[0] + size[0], low[1] + size[1]),
        recist=None if points is None else Recist.from_points(points),
        lesion_type=kind,
        state=state,
        score=score,
        reviewer=text,
        comment=text,
    )
    data = dump(lesion_to_json(lesion), Path())
    assert lesion_from_json(parse(LesionModel, data, "", "lesion"), "s") == lesion


def test_saving_again_gives_the_same_bytes(path: Path) -> None:
    before = path.read_bytes()
    found = read_annotations(path)
    save(path, *found.annotations, read_fingerprint=found.fingerprint)
    assert path.read_bytes() == before


def test_the_file_reads_well(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert '\n      "box": [6.25, 7.0, 22.0, 25.5],\n' in text
    assert '"lesion_type": "soft_tissue"' in text
    assert "Łuk" in text
    assert text.endswith("}\n")


def test_saved_annotations_count_as_saved(tmp_path: Path) -> None:
    table = Annotations("s")
    table.add(Annotation("lesion:1", "s", 1, (1.0, 1.0, 2.0, 2.0)))
    assert table.unsaved
    save_annotations(tmp_path / "x.lesions.json", table, scan_name="", scan_source="")
    assert not table.unsaved


def test_the_file_fits_the_published_schema(path: Path) -> None:
    published = json.loads(SCHEMA_PATH.read_text())
    jsonschema.Draft202012Validator.check_schema(published)
    validator = jsonschema.Draft202012Validator(published)
    content = json.loads(path.read_text(encoding="utf-8"))
    validator.validate(content)
    content["lesions"][0]["state"] = "perhaps"
    assert not validator.is_valid(content)


def test_the_published_schema_is_what_the_reader_checks() -> None:
    assert json.loads(SCHEMA_PATH.read_text()) == json.loads(json.dumps(schema()))
    names = get_args(LesionModel.model_fields["lesion_type"].annotation)
    assert names == tuple(kind.name.lower() for kind in LesionType)


def edited(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["lesions"][1].update(box=[1, 2, 3]), "lesion 2, field box.3: found"),
        (
            lambda c: c["lesions"][1].update(box=[5, 2, 3, 4]),
            "lesion 2, field box: found [5, 2, 3, 4], required: A box's low",
        ),
        (lambda c: c["lesions"][0].update(score=float("nan")), "lesion 1, field score: found nan, required: a finite"),
        (lambda c: c["lesions"][0].update(score="0.5"), "lesion 1, field score: found '0.5', required: a number"),
        (lambda c: c["lesions"][0].update(key_slice=1.5), "lesion 1, field key_slice: found 1.5"),
        (lambda c: c["lesions"][0].update(state="maybe"), "lesion 1, field state: found 'maybe', required: 'pending'"),
        (lambda c: c["lesions"][0].update(time="yesterday"), "lesion 1, field time: found 'yesterday'"),
        (lambda c: c["lesions"][0].update(extra=1), "lesion 1, field extra: found 1"),
        (lambda c: c["lesions"][0].pop("reviewer"), "lesion 1, field reviewer: found"),
        (lambda c: c["lesions"][0]["mask"].update(counts=[1, 1]), "lesion 1, field mask: found"),
        (lambda c: c["lesions"][0]["mask"].update(counts=[-1, 7]), "lesion 1, field mask: found"),
        (lambda c: c["lesions"][1].update(id="lesion:1"), "Two lesions share the id lesion:1"),
        (lambda c: c["scan"].pop("id"), "field scan.id: found"),
        (lambda c: c.update(format="other"), "field format: found 'other', required: 'napari-uld les"),
        (lambda c: c.update(version=0), "field version: found 0"),
    ],
)
def test_a_malformed_file_is_refused_by_lesion_and_field(
    path: Path, change: Callable[[dict], object], told: str
) -> None:
    edited(path, change)
    with pytest.raises(AnnotationFileError) as refused:
        read_annotations(path)
    assert str(path) in str(refused.value)
    assert told in str(refused.value)


def test_a_newer_version_is_refused_and_its_backup_not_taken_for_it(path: Path) -> None:
    save(path, BARE)
    edited(path, lambda c: c.update(version=3, lesions="other"))
    with pytest.raises(NewerVersionError, match="found version 3"):
        read_annotations(path)


def test_a_file_without_comments_is_one_that_earlier_versions_read_and_one_with_them_says_that_it_is_newer(
    path: Path,
) -> None:
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 2
    save(path, BARE)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["version"] == 1
    assert "comment" not in content["lesions"][0]


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 50, b"[]", b'"text"'])
def test_a_damaged_file_is_read_from_its_backup_and_said_so(path: Path, damage: bytes) -> None:
    save(path, BARE)
    path.write_bytes(damage)
    found = read_annotations(path)
    assert list(found.annotations) == [FULL, BARE]
    assert found.recovered_from == storage.backup_path(path)
    assert str(path) in found.message
    assert "case.lesions.json.bak" in found.message
    # Saving what was recovered keeps the good backup, and the damaged file beside it.
    save(path, FULL, read_fingerprint=found.fingerprint)
    assert list(read_annotations(path).annotations) == [FULL]
    assert storage.damaged_path(path).read_bytes() == damage


def test_a_missing_file_is_read_from_its_backup_and_said_so(path: Path) -> None:
    save(path, BARE)
    path.unlink()
    assert has_annotations(path)
    found = read_annotations(path)
    assert found.recovered_from == storage.backup_path(path)
    assert "is missing" in found.message
    save(path, FULL, read_fingerprint=found.fingerprint)


def test_no_file_and_no_backup_is_an_error_by_name(tmp_path: Path) -> None:
    assert not has_annotations(tmp_path / "x.lesions.json")
    with pytest.raises(AnnotationFileError, match=r"x\.lesions\.json is missing; .*x\.lesions\.json\.bak"):
        read_annotations(tmp_path / "x.lesions.json")


def test_another_reviewers_save_is_not_overwritten(path: Path) -> None:
    mine = read_annotations(path)
    save(path, BARE)
    with pytest.raises(FileChangedError):
        save(path, FULL, read_fingerprint=mine.fingerprint)
    assert list(read_annotations(path).annotations) == [BARE]


def test_what_could_not_be_read_back_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    for bad in ({"score": float("nan")}, {"time": "noon"}, {"reviewer": "\ud800"}):
        row = Annotation("lesion:3", "1.2.3", 1, (0.0, 0.0, 1.0, 1.0), **bad)  # type: ignore[arg-type]
        with pytest.raises(AnnotationFileError):
            save(path, row)
    assert path.read_bytes() == before


def test_numbers_of_numpy_are_written_as_numbers(path: Path) -> None:
    row = Annotation("lesion:3", "1.2.3", np.int64(4), tuple(np.float32([0, 0, 1, 1])), score=np.float32(0.5))  # type: ignore[arg-type]
    save(path, row)
    assert list(read_annotations(path).annotations) == [Annotation("lesion:3", "1.2.3", 4, (0, 0, 1, 1), score=0.5)]


def test_annotations_lie_beside_the_scan(tmp_path: Path) -> None:
    folder = tmp_path / "series 1.2.840"
    folder.mkdir()
    assert annotation_path(folder) == tmp_path / "series 1.2.840.lesions.json"
    assert annotation_path(tmp_path / "ct.nii.gz") == tmp_path / "ct.lesions.json"
    assert annotation_path(tmp_path / "CT.NII.GZ") == tmp_path / "CT.lesions.json"
    assert annotation_path(tmp_path / "a.b.mha") == tmp_path / "a.b.lesions.json"
    assert annotation_path(tmp_path / "plain") == tmp_path / "plain.lesions.json"


def test_the_file_model_knows_its_own_version() -> None:
    with pytest.raises(AnnotationFileError, match="field version"):
        parse_file(LesionFileModel, b'{"format": "napari-uld lesions"}', Path("f"), "lesion")
