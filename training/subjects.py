"""What is scored when it was saved: findings of this program, and what other programs write."""

from collections.abc import Sequence
from pathlib import Path

from napari_uld.errors import AnnotationFileError, BoxError, DataError
from napari_uld.files import text_of
from napari_uld.lesions.box_table import BoxTable, Extent, Margin, ScanBoxes, from_findings, joined
from napari_uld.lesions.boxes import in_image
from napari_uld.lesions.findings import as_box
from napari_uld.lesions.findings_file import SUFFIX, read_findings
from napari_uld.lesions.harvester import read_box_pickle

from .data.coco import read_coco
from .data.coco_tables import read_results, table_of_images
from .data.key_slices import KeySlice, Split


def is_saved(subject: str) -> bool:
    """Whether it is a file or folder of boxes, not a checkpoint."""
    path = Path(subject)
    return path.suffix in (".json", ".pkl") or (path.is_dir() and any(path.glob(f"*{SUFFIX}")))


def read_subject(subject: Path, data: Path, split: Split, margin: Margin | None = None) -> BoxTable:
    """Read saved boxes, whoever made them.

    Parameters
    ----------
    subject
        A findings file or a folder of them, COCO results or true boxes, or a pickle (see `lesions.harvester`).
    data
        What they will be scored on: COCO results name their images by the numbers of a COCO file of true boxes.
    margin
        How closely the boxes lie about what they hold, if a person says so; else what the file's kind says.

    Raises
    ------
    UldError
        If it cannot be read, or holds boxes of both kinds.
    """
    if subject.suffix == ".pkl":
        table = read_box_pickle(subject, split)
    elif subject.is_dir():
        table = _of_findings(subject.name, sorted(subject.glob(f"*{SUFFIX}")))
    else:
        table = _of_json(subject, data)
    return table if margin is None else BoxTable(table.source, table.scans, margin, table.extent, table.names_all)


def _of_json(path: Path, data: Path) -> BoxTable:
    try:
        start = text_of(path.read_bytes()).lstrip()
    except OSError as error:
        raise AnnotationFileError(f"Cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AnnotationFileError(f"{path} is no JSON file: it holds bytes that are no text") from error
    if start.startswith("["):
        if data.suffix != ".json":
            raise DataError(
                f"{path} names images by their numbers in a COCO file: give that file of true boxes as --data"
            )
        return read_results(path, read_coco(data))
    if '"annotations"' in start and '"napari-uld' not in start:
        return table_of_images(path, read_coco(path))
    return _of_findings(path.name, [path])


def _of_findings(source: str, paths: Sequence[Path]) -> BoxTable:
    scans: dict[str, ScanBoxes] = {}
    bodies, margins = set(), set()
    for path in paths:
        findings = read_findings(path)
        if len(findings):
            bodies.add(findings.depths is not None)
            margins.add(Margin.TIGHT if findings.tight else Margin.PADDED)
        try:
            boxes = from_findings(findings)
        except BoxError as error:
            raise AnnotationFileError(f"{path}: {error}; detect on the scan again") from error
        name = findings.scan_name
        scans[name] = joined([scans[name], boxes]) if name in scans else boxes
    if len(bodies) > 1:
        raise DataError(f"{source} holds findings in 2D and bodies: score them apart")
    if len(margins) > 1:
        raise DataError(f"{source} holds findings that are padded and some that are tight: score them apart")
    margin = margins.pop() if margins else Margin.PADDED
    return BoxTable(source, scans, margin, Extent.BODIES if bodies == {True} else Extent.TRACED, names_all=True)


def check_margins(source: str, found: Margin | None, true: Margin | None, data: Path) -> str:
    """Refuse to measure tight boxes on padded ones; give what is said of the boxes that are measured.

    Parameters
    ----------
    source
        Who gave the boxes that are measured.
    found, true
        How closely those lie about what they hold, and those of the data.

    Raises
    ------
    DataError
        If the one are tight and the others padded.
    """
    known = {each for each in (found, true) if each is not None}
    if len(known) > 1:
        raise DataError(
            f"The boxes of {source} are {found}, those of {data} {true}: measured on one another, small "
            "lesions that were found count as missed; give boxes of one kind, or say with --boxes what the first are"
        )
    return f"{known.pop()} boxes" if known else "boxes of a kind that nobody said"


def check_in_images(table: BoxTable, slices: Sequence[KeySlice]) -> None:
    """Refuse boxes that do not lie in the images they are scored on.

    Raises
    ------
    DataError
        If one does not.
    """
    for key in slices:
        found = table.on_slice(key.series, key.number)
        if found is None or key.size is None:
            continue
        for row, box in enumerate(found[0], 1):
            try:
                in_image(as_box(box), key.size, smallest=0)
            except BoxError as error:
                raise DataError(
                    f"{table.source}, {key.series}, slice {key.number}, box {row}: {error}; give what was found on "
                    "this very scan"
                ) from error
