"""What is kept of a case without being asked for, and when."""

from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import findings_path

from ..conftest import show


def test_what_a_detector_found_is_written_once_it_is_drawn(viewer, case: Case, findings: Findings) -> None:
    session: Session = show(viewer, case)
    acts = []
    session.afterwards = acts.append
    case.set_findings(findings)
    path = findings_path(case, findings.detector)
    assert not path.exists()
    for act in acts:
        act()
    assert read_findings(path).ids == findings.ids
