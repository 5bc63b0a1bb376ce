"""Phantoms on disk, in DeepLesion's layout, with the truth beside them."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from napari_uld.errors import DataError
from napari_uld.lesions.rle import encode
from napari_uld.progress import Progress, Work

from ...cores import worker_count
from .palette import PHASES
from .study import EXTENT, LONGEST, SIZE, Marked, Study, draw_study
from .truth import FOLDER, read_file

GENERATOR_VERSION = 1
ABOUT = "phantom.json"
TABLE = "DL_info.csv"
IMAGES = "Images_png"
COLUMNS = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,"
    "Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_TICK = 0.4  # s between two reports


def generate_phantoms(out: Path, patients: int, seed: int, *, phases: int = 1, extent: float = EXTENT) -> Work[Path]:
    """Write phantom studies of `patients` patients into `out`; the same seed gives the same files.

    A patient's study depends on (seed, patient, extent) alone. Series that are complete on disk are kept, so a break
    loses little and a larger number of patients adds to what is there.

    Parameters
    ----------
    out
        A new or empty folder, or one that holds phantoms of the same version, seed, phases and extent.
    patients
        How many.
    seed
        Of all randomness, >= 0.
    phases
        Contrast phases of each study, each a series of its own: portal venous, arterial, unenhanced, delayed.
    extent
        mm that each study covers along the body, 60 to 525.

    Raises
    ------
    DataError
        If `out` holds something else, or a number is out of range.
    """
    out = Path(out)
    _check(out, patients, seed, phases, extent)
    for name in (IMAGES, FOLDER):
        (out / name).mkdir(parents=True, exist_ok=True)
    about: dict[str, float] = {"generator_version": GENERATOR_VERSION, "seed": seed, "patients": patients}
    about["phases"] = phases
    if extent != EXTENT:  # the usual studies' file stays as it always was
        about["extent"] = extent
    _replace(out / ABOUT, json.dumps(about, indent=1) + "\n")
    missing = [p for p in range(1, patients + 1) if not all(_truth_path(out, p, e).is_file() for e in range(phases))]
    done = patients - len(missing)
    yield Progress(done, patients, "phantoms")
    if missing:
        yield from _in_parallel(out, missing, (seed, phases, extent), done, patients)
    yield from write_table(out, range(1, patients + 1), phases)
    return out


def write_table(out: Path, patients: Sequence[int], phases: int) -> Work[None]:
    """Write DL_info.csv for patients whose series `write_patient` has written."""
    rows: list[str] = []
    for done, patient in enumerate(patients, 1):
        rows += [row for phase in range(phases) for row in _rows(_truth_path(out, patient, phase))]
        yield Progress(done, len(patients), "table")
    _replace(out / TABLE, "\n".join([COLUMNS, *rows]) + "\n")


def _in_parallel(
    out: Path, missing: list[int], drawn: tuple[int, int, float], done: int, total: int
) -> Iterator[Progress]:
    pool = ProcessPoolExecutor(min(worker_count(), len(missing)), mp_context=get_context("spawn"))
    try:
        waiting: set[Future] = {pool.submit(write_patient, out, p, *drawn) for p in missing}
        while waiting:
            finished, waiting = wait(waiting, timeout=_TICK, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            done += len(finished)
            yield Progress(done, total, "phantoms")
    except BrokenProcessPool as error:
        raise DataError(
            f"A process that was making phantoms for {out} died, perhaps for want of memory; "
            "run it again, what is complete is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check(out: Path, patients: int, seed: int, phases: int, extent: float) -> None:
    if patients < 1 or seed < 0 or not 1 <= phases <= len(PHASES):
        raise DataError(
            f"Phantoms need at least 1 patient, a seed >= 0 and 1 to {len(PHASES)} phases; "
            f"found {patients} patients, seed {seed} and {phases} phases"
        )
    if not EXTENT <= extent <= LONGEST:
        raise DataError(f"A phantom study covers {EXTENT:g} to {LONGEST:g} mm along the body; found {extent:g}")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; phantoms need a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / ABOUT).is_file():
        raise DataError(f"{out} holds something else than phantoms; choose a new or empty folder")
    about = read_file(out / ABOUT)
    wanted = {"generator_version": GENERATOR_VERSION, "seed": seed, "phases": phases, "extent": extent}
    stored = {key: about.get(key) for key in wanted} | {"extent": about.get("extent", EXTENT)}
    if stored != wanted:
        raise DataError(f"{out} holds other phantoms: {stored} instead of {wanted}; choose another folder")
    if not isinstance(about.get("patients"), int) or about["patients"] > patients:
        raise DataError(
            f"{out} holds phantoms of {about.get('patients')} patients, more than the {patients} asked for; "
            "choose another folder"
        )


def write_patient(out: Path, patient: int, seed: int, phases: int, extent: float = EXTENT) -> None:
    """Write one patient's series; the truth comes last, so that its file says that the series is complete."""
    cv2.setNumThreads(1)
    study = draw_study(seed, patient, phases, extent)
    for phase in range(phases):
        folder = out / IMAGES / series_name(patient, phase)
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng([seed, patient, 1 + phase])
        for z, hu in enumerate(study.images(phase, rng)):
            path = folder / f"{study.first + z:03d}.png"
            if not cv2.imwrite(str(path), (hu.astype(np.int32) + 32768).astype(np.uint16), _PNG):
                raise DataError(f"{path} cannot be written; is the disk full?")
        _replace(_truth_path(out, patient, phase), json.dumps(_truth(study, patient, phase, seed)) + "\n")


def series_name(patient: int, phase: int) -> str:
    """DeepLesion's name of a series: patient, study, series."""
    return f"{patient:06d}_01_{phase + 1:02d}"


def _truth_path(out: Path, patient: int, phase: int) -> Path:
    return out / FOLDER / f"{series_name(patient, phase)}.json"


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def split(seed: int, patient: int) -> int:
    """Train (1), validation (2) or test (3): of every 20 patients in a row 14, 3 and 3."""
    block, place = divmod(patient - 1, 20)
    return int(np.random.default_rng([seed, block, 0, 0]).permutation([1] * 14 + [2] * 3 + [3] * 3)[place])


def _truth(study: Study, patient: int, phase: int, seed: int) -> dict:
    return {
        "series": series_name(patient, phase),
        "phase": PHASES[phase],
        "region": study.region,
        "size": SIZE,
        "spacing": [study.spacing, study.spacing, study.thickness],
        "slices": [study.first, study.first + len(study.labels) - 1],
        "gender": "F" if study.female else "M",
        "age": study.age,
        "split": split(seed, patient),
        "z_range": [study.start, study.thickness],
        "lesions": [_lesion(study, marked, k, phase) for k, marked in enumerate(study.lesions)],
    }


def _lesion(study: Study, marked: Marked, k: int, phase: int) -> dict:
    slices = [
        {
            "slice": study.first + z,
            "box": [round(v, 4) for v in marked.recists[z].box()],
            "recist": [[round(v, 4) for v in point] for point in marked.recists[z].points.tolist()],
            "mask": list(encode(marked.masks[z]).counts),
        }
        for z in sorted(marked.masks)
    ]
    boxes = np.array([s["box"] for s in slices])
    low, high = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    host = float(study.palette.hu[phase, marked.lesion.host])
    return {
        "id": f"L{k + 1}",
        "type": int(marked.lesion.lesion_type),
        "contrast": round(marked.lesion.hu(study.palette, phase) - host, 2),
        "listed": marked.listed,
        "key_slice": study.first + marked.key,
        "box": [*low, slices[0]["slice"], *high, slices[-1]["slice"]],
        "slices": slices,
    }


def _rows(path: Path) -> list[str]:
    """Rows of DL_info.csv for the listed lesions of a series: 1-based, six digits, several numbers quoted."""
    series = read_file(path)
    return [_row(series, lesion) for lesion in series["lesions"] if lesion["listed"]]


def _row(series: dict, lesion: dict) -> str:
    name, key = series["series"], lesion["key_slice"]
    marked = next(s for s in lesion["slices"] if s["slice"] == key)
    points = np.array(marked["recist"]) + 1
    box = np.array(marked["box"]) + 1
    long, short = (float(np.hypot(*(points[i] - points[i + 1]))) for i in (0, 2))
    middle = ((box[:2] + box[2:]) / 2 / series["size"]).tolist()
    start, thickness = series["z_range"]
    along = float(np.clip((start + (key - series["slices"][0]) * thickness) / 700, 0, 1))
    patient, study, number = (int(part) for part in name.split("_"))
    window = (-1500, 500) if lesion["type"] == 5 else (-175, 275)
    # DeepLesion gives no types of its training lesions.
    known = -1 if series["split"] == 1 else lesion["type"]
    fields = [
        f"{name}_{key:03d}.png",
        patient,
        study,
        number,
        key,
        _numbers(points.ravel()),
        _numbers(box),
        _numbers([long, short]),
        _numbers([*middle, along]),
        known,
        0,
        _numbers(series["slices"]),
        _numbers(series["spacing"]),
        _numbers([series["size"]] * 2),
        _numbers(window),
        series["gender"],
        float(series["age"]),
        series["split"],
    ]
    return ",".join(str(field) for field in fields)


def _numbers(values: object) -> str:
    return '"' + ", ".join(f"{v:.6g}" for v in np.asarray(values, dtype=float)) + '"'
