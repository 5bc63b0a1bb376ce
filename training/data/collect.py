"""An archive's scans and the lesions that were accepted on them, in DeepLesion's layout: what training takes.

Series keep their names and patients their splits when more is collected into the same folder later, and series of scans
that another archive has, or that cannot be read this time, their lesions.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from napari_uld.ct import find_scans
from napari_uld.ct.deeplesion import CSV_NAME, IMAGES_NAME
from napari_uld.ct.dl_info import COLUMNS, parse_dl_info, read_dl_info
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.reading import read_entry
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import DataError, UldError
from napari_uld.files import replace_file
from napari_uld.lesions import storage
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.beside import FilesBeside, Mirror
from napari_uld.lesions.deeplesion import annotations_from_dl_info, write_dl_info
from napari_uld.lesions.json_models import FileModel, Model, dump, parse_file, unicode_of
from napari_uld.progress import Progress, Work

from .key_slices import SOFT_TISSUE, SPLITS

KNOWN = "collected.json"
# Share of the patients that training validates on.
VALIDATION = 0.2
# Why most scans are left out.
NO_LESION = "no accepted lesion"
# Slices have three digits.
MOST_SLICES = 999


class CollectedModel(Model):
    """A scan that was collected."""

    series: str
    patient: str = Field(description="the folder of the archive that its scans share, or the scan's own name")
    split: int = Field(ge=1, le=2, description="1 training, 2 validation")


class CollectedFileModel(FileModel):
    """``collected.json``: what each scan of the archive is called here, by its id."""

    FORMAT = "napari-uld collected"
    VERSION = 1
    format: Literal["napari-uld collected"] = "napari-uld collected"
    version: Literal[1] = 1
    scans: Mapping[str, CollectedModel] = Field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """What was collected: scans and lesions that are there, and why other scans are not."""

    scans: int
    lesions: int
    left_out: Mapping[str, str]


def collect(archive: Path, out: Path, *, annotations: Path | None = None) -> Work[Collection]:
    """Write the scans of an archive that have accepted lesions into a folder to train on.

    Patients are told by the folder right below the archive that their scans lie in; a scan that lies there itself is a
    patient. Of five patients one is validated on.

    Parameters
    ----------
    archive
        A folder of scans with annotation files beside them.
    out
        A new folder, or one that was collected into before.
    annotations
        A folder where more annotation files are, which has the archive's folders over again.

    Raises
    ------
    DataError
        If there is nothing to collect.
    UldError
        If there is no scan, or the folder cannot be written.
    """
    beside = FilesBeside(None if annotations is None else Mirror(archive, annotations))
    known = dict(_read_known(out / KNOWN))
    tables: dict[str, Annotations] = {}
    rows, left_out, decided_anew = [], {}, set()
    entries = find_scans(archive)
    for number, entry in enumerate(entries):
        yield Progress(number, len(entries), entry.name)
        marked = beside.annotations(entry)
        accepted = [row for row in marked or () if row.state is State.ACCEPTED]
        if marked is None or not accepted:
            left_out[entry.name] = NO_LESION
            decided_anew |= set() if marked is None else {marked.scan_id}
            continue
        try:
            volume = _readable(entry, marked)
        except (UldError, OSError) as error:
            left_out[entry.name] = " ".join(str(error).split())
            continue
        collected = known.setdefault(volume.scan_id, _named(_patient(archive, entry), known.values()))
        yield from _write_slices(out / IMAGES_NAME / collected.series, volume, number, len(entries))
        rows.append(_row(volume, collected))
        scan_id = f"deeplesion:{collected.series}"
        numbered = [replace(row, scan_id=scan_id, key_slice=_number(volume, row.key_slice)) for row in accepted]
        tables[collected.series] = Annotations(scan_id, numbered)
    if not rows:
        refused = next((f"{name}: {why}" for name, why in left_out.items() if why != NO_LESION), "")
        if refused:
            raise DataError(f"{archive} holds no scan that can be collected; {refused}")
        raise DataError(f"{archive} holds no scan with an accepted lesion: accept some first")
    count = Collection(len(rows), sum(map(len, tables.values())), left_out)
    _write_known(out / KNOWN, known)
    stay = [one.series for scan_id, one in known.items() if one.series not in tables and scan_id not in decided_anew]
    _keep(out / CSV_NAME, stay, rows, tables)
    # A series' own row only says what all its lesions share: it is none of them, and goes.
    write_dl_info(out / CSV_NAME, parse_dl_info(Path(KNOWN), _table(rows)), tables)
    return count


def _readable(entry: ScanEntry, marked: Annotations) -> CTVolume:
    if entry.kind == "deeplesion":
        raise DataError("it is in DeepLesion's layout already: train on it where it lies, with --sources")
    volume = read_entry(entry)
    if volume.scan_id != marked.scan_id:
        raise DataError("the annotation file beside it is of another scan")
    if len(volume.hu) > MOST_SLICES:
        raise DataError(f"it has {len(volume.hu)} slices, DeepLesion's names count up to {MOST_SLICES}")
    return volume


def _patient(archive: Path, entry: ScanEntry) -> str:
    place = entry.path.relative_to(archive) if entry.path.is_relative_to(archive) else Path(entry.path.name)
    return unicode_of(place.parts[0] if place.parts else entry.name)


def _named(patient: str, known: Iterable[CollectedModel]) -> CollectedModel:
    """Name a new series of a patient, who is new too or has a number and a split."""
    others = list(known)
    patients = {one.patient: one for one in others}
    own = [one for one in others if one.patient == patient]
    index = own[0].series.split("_")[0] if own else f"{len(patients) + 1:06d}"
    validated = sum(one.split == SPLITS["val"] for one in patients.values())
    needed = validated < VALIDATION * (len(patients) + 1) and len(patients) > 0
    split = own[0].split if own else SPLITS["val"] if needed else SPLITS["train"]
    return CollectedModel(series=f"{index}_01_{len(own) + 1:02d}", patient=patient, split=split)


def _number(volume: CTVolume, native: int) -> int:
    """DeepLesion's number of a slice: from 1 at the head on."""
    return len(volume.hu) - volume.z_of(native)


def _write_slices(folder: Path, volume: CTVolume, done: int, total: int) -> Work[None]:
    folder.mkdir(parents=True, exist_ok=True)
    for z, hu in enumerate(volume.hu):
        path = folder / f"{len(volume.hu) - z:03d}.png"
        if not path.exists():
            # Flipping the top bit adds 32768.
            coded, png = cv2.imencode(".png", np.bitwise_xor(hu.view(np.uint16), 0x8000))
            if not coded:
                raise DataError(f"Slice {z} of {volume.name} cannot be written as PNG")
            replace_file(path, partial(_write, png))
        yield Progress(done, total, f"{volume.name}, slice {z + 1} of {len(volume.hu)}")


def _write(png: np.ndarray, path: Path) -> None:
    path.write_bytes(png.tobytes())


def _row(volume: CTVolume, collected: CollectedModel) -> dict[str, str]:
    """What the rows of a series share."""
    dz, dy, dx = volume.spacing
    count, height, width = volume.shape
    patient, study, series = (int(part) for part in collected.series.split("_"))
    unknown = {name: ", ".join(["NaN"] * numbers) for name, numbers in COLUMNS.items() if numbers}
    return {
        **unknown,
        "File_name": f"{collected.series}_001.png",
        "Patient_index": str(patient),
        "Study_index": str(study),
        "Series_ID": str(series),
        "Key_slice_index": "1",
        "Bounding_boxes": "1, 1, 2, 2",
        "Coarse_lesion_type": "-1",
        "Possibly_noisy": "0",
        "Slice_range": f"1, {count}",
        "Spacing_mm_px_": f"{dx:.6g}, {dy:.6g}, {dz:.6g}",
        "Image_size": f"{width}, {height}",
        "DICOM_windows": "{:g}, {:g}".format(*(volume.window or SOFT_TISSUE)),
        "Patient_gender": "",
        "Train_Val_Test": str(collected.split),
    }


def _keep(path: Path, stay: Sequence[str], rows: list[dict[str, str]], tables: dict[str, Annotations]) -> None:
    """Take over what the table has of series that were collected before."""
    before = read_dl_info(path) if stay and path.exists() else None
    for series in stay:
        if before is not None and series in before.by_series:
            scan_id = f"deeplesion:{series}"
            rows.append({name: before.by_series[series][0].fields[name] for name in COLUMNS})
            tables[series] = Annotations(scan_id, annotations_from_dl_info(before, series, scan_id))


def _table(rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _read_known(path: Path) -> Mapping[str, CollectedModel]:
    if not path.exists():
        if (path.parent / CSV_NAME).exists():
            raise DataError(f"{path.parent} holds a {CSV_NAME} that was not collected: give another folder")
        return {}
    return parse_file(CollectedFileModel, path.read_bytes(), path, "scan").scans


def _write_known(path: Path, known: Mapping[str, CollectedModel]) -> None:
    content = CollectedFileModel(scans=known).model_dump(mode="json")
    storage.save(path, dump(content, path))
