"""What napari calls when something is dropped on it: scans, annotations, findings."""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path

from napari import current_viewer
from napari.utils.notifications import show_error, show_info, show_warning

from napari_uld.ct import ScanEntry, find_scans, read_scan
from napari_uld.errors import AnnotationError, ScanError, UldError
from napari_uld.lesions.annotation_file import SUFFIX
from napari_uld.lesions.findings_file import SUFFIX as FINDINGS_SUFFIX
from napari_uld.lesions.findings_file import read_findings
from napari_uld.viewer.layers.negatives import negatives_layers
from napari_uld.viewer.layers.parts import LayerTuple
from napari_uld.viewer.layers.scan import case_layers
from napari_uld.viewer.panels.dialogs import EVERY_SCAN, choose_scan
from napari_uld.viewer.panels.docking import show_cases
from napari_uld.viewer.panels.opening import open_entry, say_notes
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.plugin.arrivals import Arrivals, Arrived
from napari_uld.viewer.plugin.samples import own_copy
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_annotations, open_case
from napari_uld.viewer.state.settings import data_folder

# What a reader gives napari to say "done, there is no layer to add".
NOTHING: list[LayerTuple] = [(None,)]  # type: ignore[list-item]

# The manifest's name for the bundled study: of a function napari would have layers, and those are the session's.
SAMPLE = "napari-uld://phantom.sample"

Paths = str | list[str]
Reader = Callable[[Paths], list[LayerTuple]]


def get_reader(path: Paths) -> Reader:
    """Give the reader of a path that the manifest's patterns let through."""
    if (path[0] if isinstance(path, list) else path) == SAMPLE:
        return read_sample
    name = _first(path).name
    if name.endswith(SUFFIX):
        return read_lesions
    if name.endswith(FINDINGS_SUFFIX):
        return read_detections
    return read_volume


def read_sample(_path: Paths) -> list[LayerTuple]:
    """Open the person's copy of the bundled phantom study.

    Raises
    ------
    DataError
        If it is missing from this installation, or cannot be copied.
    """
    return read_volume(str(own_copy(data_folder())))


def read_volume(path: Paths) -> list[LayerTuple]:
    """Open a CT scan with what is known about its lesions; it takes the place of the scan that was open.

    Of several that are dropped at once the first is opened, and all are offered.

    In a window what cannot be opened is said.

    Raises
    ------
    ScanError
        If there is no window and no scan, it is damaged or no CT, or there are several.
    AnnotationFileError
        If there is no window and it has annotations that cannot be read.
    """
    chosen = _first(path)
    session = _session()
    if session is None:
        case, notes = open_case(read_scan(chosen))
        say_notes(case, notes)
        return case_layers(case)
    if _is_open(chosen, session.case):
        return NOTHING
    if session.opening:
        show_info(f"Another scan is being read. Close that one, or wait: {chosen.name} is not opened.")
        return NOTHING
    with _ARRIVALS.reading(session) as arrived:
        # Files of one scan are often dropped together.
        if chosen.resolve() not in arrived.files:
            try:
                _arrive(session, chosen, arrived)
            except UldError as error:
                # An error that is raised ends napari's way through the paths: the others would not even be looked at.
                show_error(f"The scan cannot be opened: {error}")
    return NOTHING


def _arrive(session: Session, chosen: Path, arrived: Arrived) -> None:
    """Open a path's scan, or keep its scans to be offered where another one has just arrived."""
    scans = find_scans(chosen)
    for left_out in scans.left_out:
        show_info(f"Left out {left_out}")
    if arrived.scans:
        arrived.add(scans)
        return
    said = f"{chosen.name} holds {len(scans)} scans."
    entry = scans[0] if len(scans) == 1 else choose_scan(said, scans)
    if entry is EVERY_SCAN:
        show_cases(chosen, scans)
    elif entry is not None and session.may_close():
        open_entry(session, entry, among=scans)
        arrived.add([entry])


def _offer(session: Session, scans: Sequence[ScanEntry]) -> None:
    """Let the person choose among scans that were dropped together; the first is open already."""
    entry = choose_scan(f"{len(scans)} scans were dropped at once.", scans)
    if entry is EVERY_SCAN:
        show_cases(Path(os.path.commonpath([scan.path.parent for scan in scans])), scans)
        return
    if entry is None or entry is scans[0] or not session.may_close():
        return
    try:
        open_entry(session, entry, among=scans)
    except UldError as error:
        show_error(f"The scan cannot be opened: {error}")


_ARRIVALS = Arrivals(_offer)


def _said(read: Reader) -> Reader:
    """Have a reader's error said in the window where there is one.

    napari takes one that is raised for a question of which plugin to use, and its notice begins with that.
    """

    @wraps(read)
    def reading(path: Paths) -> list[LayerTuple]:
        try:
            return read(path)
        except UldError as error:
            session = _session()
            if session is None or not session.in_window:
                raise
            show_error(f"Not shown on this scan: {error}")
            return NOTHING

    return reading


@_said
def read_lesions(path: Paths) -> list[LayerTuple]:
    """Show an annotation file on the open scan; in a window what is wrong with it is said.

    Raises
    ------
    AnnotationError
        If they are of another scan.
    ScanError
        If no scan is open.
    """
    chosen = _first(path)
    session = _session()
    case = _open_case(session, chosen)
    if session is not None and session.may_close():
        message = open_annotations(case, chosen)
        if message:
            show_warning(message)
        session.offer_restore()
    return NOTHING


@_said
def read_detections(path: Paths) -> list[LayerTuple]:
    """Show a detector's findings on the open scan; mined negatives become layers of their own.

    In a window what is wrong with them is said.

    Raises
    ------
    AnnotationError
        If they are of another scan.
    ScanError
        If no scan is open.
    """
    chosen = _first(path)
    session = _session()
    case = _open_case(session, chosen)
    findings = read_findings(chosen)
    try:
        case.require_own(findings)
    except AnnotationError as error:
        raise AnnotationError(f"{error} The file is {chosen}") from error
    negatives = findings.take(findings.negative)
    # Negatives alone are no run of a detector: what one found on this scan stays.
    if not len(findings) or len(negatives) < len(findings):
        case.set_findings(findings)
    if not len(negatives):
        return NOTHING
    surest = int(negatives.scores.argmax())
    slices = len(set(negatives.key_slices.tolist()))
    show_info(
        f"{len(negatives)} hard negatives on {slices} slices; the surest, {negatives.scores[surest]:.2f}, "
        f"on slice {negatives.key_slices[surest]}"
    )
    zoom = 1.0
    if session is not None:
        session.show_native(int(negatives.key_slices[surest]))
        zoom = session.viewer.scene.camera.zoom
    return negatives_layers(case, negatives, zoom)


def _first(path: Paths) -> Path:
    return Path(path[0] if isinstance(path, list) else path)


def _session() -> Session | None:
    viewer = current_viewer()
    return None if viewer is None else workbench_in_window(viewer).session


def _is_open(path: Path, case: Case | None) -> bool:
    """Tell whether a file is one of several that the open scan was read from: they were dropped together."""
    return case is not None and len(case.files) > 1 and path.resolve() in case.files


def _open_case(session: Session | None, path: Path) -> Case:
    if session is None or session.case is None:
        raise ScanError(f"No scan is open: open the scan of {path} first, then this file")
    return session.case
