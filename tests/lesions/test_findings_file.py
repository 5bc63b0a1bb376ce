import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.lesions.json_models import NewerVersionError
from napari_uld.lesions.rle import encode

# The fixture's first finding, as every version has written it.
FLAT_FILE = """\
{
  "format": "napari-uld findings",
  "version": 1,
  "scan": {
    "id": "1.2.3",
    "name": "Case"
  },
  "method": "faster_rcnn",
  "checkpoint": "sha256:1",
  "operating_point": 0.31,
  "findings": [
    {
      "box": [1.0, 2.0, 3.3, 4.0],
      "score": 0.8999999761581421,
      "label": 1,
      "key_slice": 7,
      "negative": false,
      "slice_boxes": [
        {
          "slice": 6,
          "box": [1.0, 2.0, 3.0, 4.0]
        },
        {
          "slice": 7,
          "box": [1.0, 2.0, 3.3, 4.0]
        }
      ],
      "mask": {
        "shape": [3, 3],
        "counts": [0, 1, 3, 1, 3, 1]
      }
    }
  ]
}
"""


@pytest.fixture
def findings() -> Findings:
    return Findings.from_rows(
        scan_id="1.2.3",
        scan_name="Case",
        method="faster_rcnn",
        checkpoint="sha256:1",
        boxes=[[1, 2, 3.3, 4], [0, 0, 9, 9]],
        scores=np.array([0.9, 0.1], np.float32),
        key_slices=[7, 9],
        labels=[1, 2],
        negative=[False, True],
        slice_boxes=({6: (1.0, 2.0, 3.0, 4.0), 7: (1.0, 2.0, 3.3, 4.0)}, {9: (0.0, 0.0, 9.0, 9.0)}),
        masks=(encode(np.eye(3)), None),
        operating_point=0.31,
    )


def test_findings_come_back_exactly(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings)
    back = read_findings(path)
    for name in ("scan_id", "scan_name", "method", "checkpoint", "slice_boxes", "masks", "operating_point"):
        assert getattr(back, name) == getattr(findings, name)
    for name in ("boxes", "scores", "labels", "key_slices", "negative"):
        np.testing.assert_array_equal(getattr(back, name), getattr(findings, name))
        assert getattr(back, name).dtype == getattr(findings, name).dtype
    # An annotation names the finding it came from by this id: it must outlive the file.
    assert [back.finding_id(i) for i in range(2)] == [findings.finding_id(i) for i in range(2)]


def test_a_file_without_depths_and_points_is_the_same_bytes_as_ever(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings.take(np.array([0])))
    assert path.read_text() == FLAT_FILE


@st.composite
def solid_findings(draw: st.DrawFn) -> Findings:
    """Findings of a detector in 3D: every box with a depth, some with surface points."""
    number = st.floats(-1e6, 1e6)
    low_high = st.tuples(number, number).map(sorted)
    n = draw(st.integers(1, 4))
    clouds = st.none() | st.lists(st.tuples(number, number, number), max_size=5)
    return Findings.from_rows(
        scan_id="1.2.3",
        scan_name="Case",
        method="vld",
        checkpoint="sha256:1",
        boxes=[[0, 0, 1, 1]] * n,
        scores=[0.5] * n,
        key_slices=[7] * n,
        depths=draw(st.none() | st.lists(low_high, min_size=n, max_size=n)),
        points=draw(st.lists(clouds, min_size=n, max_size=n)),
        first_points=draw(st.none() | st.lists(clouds, min_size=n, max_size=n)),
    )


@given(solid_findings())
def test_depths_and_points_come_back_exactly(findings: Findings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.findings.json"
        write_findings(path, findings)
        back = read_findings(path)
    np.testing.assert_equal(back.depths, findings.depths)
    np.testing.assert_equal(back.points, findings.points)
    nowhere = (None,) * len(back)
    np.testing.assert_equal(back.first_points or nowhere, findings.first_points or nowhere)
    assert [back.finding_id(i) for i in range(len(back))] == [findings.finding_id(i) for i in range(len(back))]


def test_a_file_with_depths_of_some_findings_only_is_refused(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings)
    content = json.loads(path.read_text())
    content["findings"][1]["depth"] = [1.0, 2.0]
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationFileError, match="all findings have a depth or none has"):
        read_findings(path)


def test_score_columns_come_back_exactly(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(
        path, replace(findings, columns={"s2": np.array([0.1, 1 / 3]), "disagreement": np.array([0.0, 0.9])})
    )
    back = read_findings(path)
    assert list(back.columns) == ["s2", "disagreement"]
    assert back.columns["s2"].tolist() == [0.1, 1 / 3]
    assert back.above(0.5).columns["disagreement"].tolist() == [0.0]


def test_a_file_with_a_column_of_some_findings_only_is_refused(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings)
    content = json.loads(path.read_text())
    content["findings"][1]["columns"] = {"s2": 0.5}
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationFileError, match="all findings have the same columns"):
        read_findings(path)


def test_a_file_that_names_no_operating_point_has_none(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["operating_point"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_findings(path).operating_point is None


def test_a_scan_without_findings_comes_back(tmp_path: Path, findings: Findings) -> None:
    write_findings(tmp_path / "f", findings.above(2.0))
    assert len(read_findings(tmp_path / "f")) == 0


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("score", float("nan"), "finding 2, field score: found nan"),
        ("box", [3, 0, 1, 1], "finding 2, field box: found [3, 0, 1, 1]"),
        ("depth", [2.0, 1.0], "finding 2, field depth: found [2.0, 1.0]"),
        ("points", [[1.0, 2.0]], "finding 2, field points.0.2: found"),
        ("columns", {"s2": "high"}, "finding 2, field columns.s2: found"),
        ("negative", 1, "finding 2, field negative: found 1"),
        ("slice_boxes", [], "finding 2, field slice_boxes: found []"),
        ("slice_boxes", [{"slice": 9, "box": [0, 0, 1, 1]}] * 2, "finding 2, field slice_boxes: found"),
    ],
)
def test_a_malformed_file_is_refused_by_finding_and_field(
    tmp_path: Path, findings: Findings, field: str, value: object, told: str
) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings)
    content = json.loads(path.read_text())
    content["findings"][1][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationFileError) as refused:
        read_findings(path)
    assert f"{path}, {told}" in str(refused.value)


def test_a_newer_version_is_refused(tmp_path: Path, findings: Findings) -> None:
    path = tmp_path / "case.findings.json"
    write_findings(path, findings)
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(NewerVersionError):
        read_findings(path)


def test_an_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AnnotationFileError, match=r"nowhere\.json"):
        read_findings(tmp_path / "nowhere.json")
