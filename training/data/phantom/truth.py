"""The whole truth about a phantom: every lesion's boxes and masks, whether it is listed or not."""

import json
from dataclasses import dataclass
from pathlib import Path

from napari_uld.errors import DataError
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.findings import Box
from napari_uld.lesions.rle import Rle

FOLDER = "truth"


@dataclass(frozen=True)
class TrueLesion:
    """A lesion that is really there.

    Parameters
    ----------
    id
        Its id in the series.
    lesion_type
        DeepLesion's coarse type.
    contrast
        HU against its surroundings in this phase.
    listed
        Whether DL_info.csv lists it.
    key_slice
        Native number of the slice on which it is largest.
    box
        (x1, y1, z1, x2, y2, z2): the hull of its slices' boxes, pixel centres, and its native slices, bounds inclusive.
    boxes
        By native slice number: its RECIST box with DeepLesion's margin, pixel centres.
    masks
        By native slice number: the voxels of which at least half is lesion.
    """

    id: str
    lesion_type: LesionType
    contrast: float
    listed: bool
    key_slice: int
    box: tuple[float, float, float, float, float, float]
    boxes: dict[int, Box]
    masks: dict[int, Rle]


def read_truth(root: Path, series: str) -> list[TrueLesion]:
    """Read every lesion of a series.

    Raises
    ------
    DataError
        If there is no truth for it or it cannot be read.
    """
    path = Path(root) / FOLDER / f"{series}.json"
    content = read_file(path)
    try:
        shape = (int(content["size"]), int(content["size"]))
        return [_lesion(row, shape) for row in content["lesions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error!r}); generate the phantoms again") from error


def read_spacing(root: Path, series: str) -> tuple[float, float, float]:
    """Millimetres between voxel centres of a series along (z, y, x).

    Raises
    ------
    DataError
        If there is no truth for it or it cannot be read.
    """
    path = Path(root) / FOLDER / f"{series}.json"
    try:
        x, y, z = (float(value) for value in read_file(path)["spacing"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error!r}); generate the phantoms again") from error
    return z, y, x


def read_phase(root: Path, series: str) -> str:
    """The contrast phase of a series ("portal venous").

    Raises
    ------
    DataError
        If there is no truth for it or it cannot be read.
    """
    path = Path(root) / FOLDER / f"{series}.json"
    try:
        return str(read_file(path)["phase"])
    except KeyError as error:
        raise DataError(f"{path} is damaged ({error!r}); generate the phantoms again") from error


def _lesion(row: dict, shape: tuple[int, int]) -> TrueLesion:
    slices = {int(s["slice"]): s for s in row["slices"]}
    return TrueLesion(
        id=row["id"],
        lesion_type=LesionType(row["type"]),
        contrast=float(row["contrast"]),
        listed=bool(row["listed"]),
        key_slice=int(row["key_slice"]),
        box=tuple(float(v) for v in row["box"]),  # type: ignore[arg-type]
        boxes={n: tuple(float(v) for v in s["box"]) for n, s in slices.items()},  # type: ignore[misc]
        masks={n: Rle(shape, tuple(s["mask"])) for n, s in slices.items()},
    )


def truth_series(root: Path) -> list[str]:
    """Names of all series of which the truth is known, in order.

    Raises
    ------
    DataError
        If `root` holds no phantoms.
    """
    folder = Path(root) / FOLDER
    if not folder.is_dir():
        raise DataError(f"{root} holds no phantoms: there is no folder {FOLDER}; make some with `napari-uld phantom`")
    return sorted(path.stem for path in folder.glob("*.json"))


def read_file(path: Path) -> dict:
    """Read a JSON object.

    Raises
    ------
    DataError
        If the file is missing or is none.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); generate the phantoms again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object; generate the phantoms again")
    return content
