from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.utils.notifications import Notification

from napari_uld.ct import find_scans, read_scan
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.errors import AmbiguousScanError, AnnotationError, AnnotationFileError, ScanError
from napari_uld.lesions.annotation_file import read_annotations, save_annotations
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.viewer.layers.negatives import negatives_layers
from napari_uld.viewer.layers.parts import Part, case_of
from napari_uld.viewer.panels import opening
from napari_uld.viewer.plugin import reader
from napari_uld.viewer.plugin.reader import NOTHING, get_reader
from napari_uld.viewer.plugin.writer import write_lesions
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.files import export_dl_info, open_case, save_case


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A small CT as NIfTI."""
    path = tmp_path / "scan.nii.gz"
    hu = np.random.default_rng(1).integers(-200, 200, (16, 14, 6), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), path)
    return path


@pytest.fixture
def open_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The session that the reader finds open."""
    monkeypatch.setattr(reader, "_session", lambda: session)
    monkeypatch.setattr(opening, "show_review", lambda **_: None)
    return session


def read(path: Path) -> list:
    return get_reader(str(path))(str(path))


def test_a_scan_is_six_layers_and_an_empty_table(scan: Path) -> None:
    layers = read(scan)
    assert [kind for _, _, kind in layers] == ["image", "image", "surface", "vectors", "points", "shapes"]
    assert layers[0][1]["name"] == "CT scan"
    assert layers[0][1]["metadata"]["napari_uld"].rows == ()


def test_saved_annotations_open_with_their_scan(scan: Path) -> None:
    case = read(scan)[0][1]["metadata"]["napari_uld"]
    case.add(2, (1.0, 2.0, 5.0, 6.0))
    save_annotations(case.path, case.annotations, scan_name="scan", scan_source=scan.name)
    again = read(scan)[0][1]["metadata"]["napari_uld"]
    assert [row.box for row in again.rows] == [(1.0, 2.0, 5.0, 6.0)]
    assert not again.annotations.unsaved


def test_a_second_scan_of_one_folder_gets_an_annotation_file_of_its_own(case) -> None:
    save_annotations(case.path, Annotations("another scan"), scan_name="x", scan_source="x")
    second, notes = open_case(case.volume)
    assert second.path.name.startswith("study.")
    assert second.path != case.path
    assert len(second.annotations) == 0
    assert any(
        "another scan are not shown: study.lesions.json holds those of x (another scan)" in note for note in notes
    )
    second.add(2, (1.0, 2.0, 5.0, 6.0))
    save_case(second)
    again, _ = open_case(replace(case.volume, name="renamed"))
    assert (again.path, len(again.annotations)) == (second.path, 1)


def test_two_series_of_one_name_in_one_folder_keep_their_lesions_apart(case) -> None:
    volumes = [replace(case.volume, series_uid=uid) for uid in ("1.1", "1.2", "1.3")]
    for count, volume in enumerate(volumes, start=1):
        opened, _ = open_case(volume)
        for i in range(count):
            opened.add(2, (1.0, 2.0, 5.0 + i, 6.0))
        save_case(opened)
    assert [len(open_case(volume)[0].annotations) for volume in reversed(volumes)] == [3, 2, 1]


def test_a_file_beside_the_scan_is_known_by_the_scan_in_it_not_by_its_name(case) -> None:
    path = case.path.with_name("study.second reader.lesions.json")
    save_annotations(path, Annotations("1.2.3"), scan_name="study", scan_source="study.nii.gz")
    opened, notes = open_case(case.volume)
    assert opened.path == path
    assert notes == ()


def test_a_deeplesion_series_that_grew_keeps_its_saved_decisions(deeplesion: Path) -> None:
    series = deeplesion / "Images_png" / "000001_03_01"
    last = max(series.glob("*.png"))
    hidden = last.rename(deeplesion / last.name)
    opened, _ = open_case(read_scan(series))
    opened.add(2, (1.0, 2.0, 30.0, 40.0))
    save_case(opened)
    hidden.rename(last)
    grown, notes = open_case(read_scan(series))
    assert grown.volume.shape[0] == opened.volume.shape[0] + 1
    assert len(grown.annotations) == len(opened.annotations) == 2
    assert notes == ()


def test_lesions_are_exported_into_the_downloads_table_and_open_from_there(deeplesion: Path) -> None:
    series, table = deeplesion / "Images_png" / "000001_03_01", deeplesion / "DL_info.csv"
    before = read_dl_info(table)
    opened, _ = open_case(read_scan(series))
    opened.add(2, (10.0, 20.0, 40.0, 60.0))
    message = export_dl_info(opened, table)
    assert message.startswith(f"Wrote 2 lesions of 000001_03_01 into {table}")
    assert [row.box for row in open_case(read_scan(series))[0].rows if row.recist is None] == [(10.0, 20.0, 40.0, 60.0)]
    after = read_dl_info(table)
    assert len(after.rows) == len(before.rows) + 1
    others = [row.fields for row in after.rows if row.series != "000001_03_01"]
    assert [f["Bounding_boxes"] for f in others] == [
        row.fields["Bounding_boxes"] for row in before.rows if row.series != "000001_03_01"
    ]
    elsewhere = deeplesion / "mine.csv"
    export_dl_info(opened, elsewhere)
    assert len(read_dl_info(elsewhere).by_series["000001_03_01"]) == 2


def test_a_scan_that_is_no_deeplesion_series_is_not_exported(case, tmp_path: Path) -> None:
    with pytest.raises(AnnotationFileError, match="study is no DeepLesion series"):
        export_dl_info(case, tmp_path / "DL_info.csv")
    assert not (tmp_path / "DL_info.csv").exists()


def test_several_scans_and_nobody_to_ask_is_an_error_that_lists_them(scan: Path) -> None:
    (scan.parent / "other.nii.gz").write_bytes(scan.read_bytes())
    with pytest.raises(AmbiguousScanError, match="holds 2 scans"):
        read(scan.parent)


def test_with_a_window_the_person_chooses_among_several(
    scan: Path, open_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scan.parent / "other.nii.gz").write_bytes(scan.read_bytes())
    monkeypatch.setattr(reader, "choose_scan", lambda said, found: found[0])
    assert read(scan.parent) == NOTHING
    opened = open_session.case
    assert opened.volume.name == "other"
    monkeypatch.setattr(reader, "choose_scan", lambda said, found: None)
    assert read(scan.parent) == NOTHING
    assert open_session.case is opened


def test_among_what_a_folder_holds_the_phases_of_the_chosen_scan_are_looked_for(
    scan: Path, open_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scan.parent / "other.nii.gz").write_bytes(scan.read_bytes())
    monkeypatch.setattr(reader, "choose_scan", lambda said, found: found[1])
    monkeypatch.setattr(opening, "of_study", lambda entry, among: tuple(among))
    read(scan.parent)
    assert open_session.viewer.canvas.overlays.text.text.splitlines()[:2] == ["scan", "phase 2 of 2 (B)"]


def test_dropping_all_slices_of_a_series_reads_it_once(
    deeplesion: Path, open_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = sorted((deeplesion / "Images_png" / "000001_03_01").glob("*.png"))
    looked = []
    monkeypatch.setattr(reader, "find_scans", lambda path: looked.append(path) or find_scans(path))
    assert [read(path) for path in slices] == [NOTHING] * len(slices)
    assert looked == slices[:1]
    # The series' folder is opened again as ever.
    opened = open_session.case
    read(slices[0].parent)
    assert open_session.case is not opened
    assert open_session.case.volume.scan_id == opened.volume.scan_id


def test_a_scan_is_not_opened_over_unsaved_edits_that_are_to_be_kept(scan: Path, open_session: Session) -> None:
    open_session.case.add(2, (1.0, 2.0, 5.0, 6.0))
    assert read(scan) == NOTHING


def test_an_annotation_file_opens_onto_its_scan(open_session: Session, tmp_path: Path) -> None:
    path = tmp_path / "second reader.lesions.json"
    save_annotations(path, Annotations("1.2.3"), scan_name="study", scan_source="study.nii.gz")
    assert read(path) == NOTHING
    assert len(open_session.case.annotations) == 0
    assert open_session.case.path == path


def test_an_annotation_file_of_another_scan_names_both(open_session: Session, tmp_path: Path) -> None:
    path = tmp_path / "stranger.lesions.json"
    save_annotations(path, Annotations("9.9.9"), scan_name="x", scan_source="x")
    with pytest.raises(AnnotationError, match=r"^Lesions of another scan, 9\.9\.9.*stranger.*study \(1\.2\.3\)"):
        read(path)
    assert len(open_session.case.annotations) == 1


def test_in_a_window_a_file_of_another_scan_is_refused_in_one_sentence(
    open_session: Session, tmp_path: Path, shown: list[Notification]
) -> None:
    open_session.in_window = True
    path = tmp_path / "stranger.lesions.json"
    save_annotations(path, Annotations("9.9.9"), scan_name="x", scan_source="x")
    assert read(path) == NOTHING
    (note,) = shown
    assert note.message.startswith("Not shown on this scan: Lesions of another scan, 9.9.9")


def test_an_annotation_file_without_its_scan_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"^No scan is open: open the scan of .*lonely"):
        read(tmp_path / "lonely.lesions.json")


def test_findings_open_onto_their_scan(open_session: Session, findings: Findings, tmp_path: Path) -> None:
    open_session.case.remove_findings(findings.detector)
    path = tmp_path / "run.findings.json"
    write_findings(path, findings.take(~findings.negative))
    assert read(path) == NOTHING
    assert [len(found) for found in open_session.case.findings.values()] == [3]


def test_findings_with_mined_negatives_among_them_open_as_both(
    open_session: Session, findings: Findings, tmp_path: Path
) -> None:
    open_session.case.remove_findings(findings.detector)
    path = tmp_path / "run.findings.json"
    write_findings(path, findings)
    (_, lines, kind), (places, _, _) = read(path)
    assert [row.score for row in open_session.case.rows if row.score] == [0.7, 0.9]
    assert (lines["name"], kind, len(places)) == ("Hard negatives, fake f00", "vectors", 1)


def test_mined_negatives_are_layers_of_their_own_and_what_a_detector_found_stays(
    open_session: Session, findings: Findings, tmp_path: Path
) -> None:
    rows = open_session.case.rows
    path = tmp_path / "study.findings.json"
    write_findings(path, replace(findings.take(findings.negative), method="uldor", checkpoint="epoch_3"))
    made = read(path)
    viewer = open_session.viewer
    layer, _ = (getattr(viewer, f"add_{kind}")(data, **look) for data, look, kind in made)
    assert layer.name == "Hard negatives, uldor epoch_3"
    assert list(open_session.case.findings.values()) == [findings]
    assert open_session.case.rows == rows
    assert open_session.z == open_session.case.volume.z_of(11)
    # Deleting it rejects nothing; it goes with the scan.
    viewer.layers.remove(layer)
    assert not open_session.case.annotations.unsaved
    viewer.layers.remove(open_session.layer(Part.CT))
    assert len(viewer.layers) == 0


def test_mined_negatives_of_another_scan_are_refused_by_name(
    open_session: Session, findings: Findings, tmp_path: Path
) -> None:
    path = tmp_path / "stranger.findings.json"
    write_findings(path, replace(findings.take(findings.negative), scan_id="9.9.9"))
    with pytest.raises(AnnotationError, match=r"^Findings of another scan, .*9\.9\.9.*study \(1\.2\.3\).*stranger"):
        read(path)


def test_the_writer_saves_the_lesions_of_a_layer(session: Session, findings: Findings, tmp_path: Path) -> None:
    session.case.decide(findings.finding_id(0), State.ACCEPTED)
    layer = session.layer(Part.MARKS)
    (written,) = write_lesions(str(tmp_path / "out.json"), layer.data, {"metadata": layer.metadata, "name": layer.name})
    assert written.endswith("out.lesions.json")
    assert len(read_annotations(Path(written)).annotations) == 2
    assert case_of(layer).path == Path(written)


def test_the_writer_replaces_no_file_that_nobody_chose(session: Session, tmp_path: Path) -> None:
    layer = session.layer(Part.MARKS)
    (tmp_path / "foo.lesions.json").write_text("somebody's")
    with pytest.raises(AnnotationFileError, match=r"foo\.lesions\.json is there already"):
        write_lesions(str(tmp_path / "foo"), layer.data, {"metadata": layer.metadata, "name": layer.name})
    assert (tmp_path / "foo.lesions.json").read_text() == "somebody's"


def test_the_writer_refuses_a_layer_of_no_scan(tmp_path: Path) -> None:
    with pytest.raises(AnnotationFileError, match="holds no lesions of an open CT scan"):
        write_lesions(str(tmp_path / "out.json"), [], {"name": "Shapes", "metadata": {}})


def test_the_writer_saves_no_lesions_under_the_name_of_a_layer_that_shows_none(
    session: Session, findings: Findings, tmp_path: Path
) -> None:
    (_, look, _), _ = negatives_layers(session.case, findings.take(findings.negative), 1.0)
    with pytest.raises(AnnotationFileError, match="Hard negatives"):
        write_lesions(str(tmp_path / "out.json"), [], look)
    assert not list(tmp_path.glob("out*"))
