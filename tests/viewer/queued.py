"""Small scans with suggestions beside them, as `napari-uld mine` leaves them."""

from pathlib import Path

import nibabel
import numpy as np

from napari_uld.ct import ScanEntry, find_scans, read_entry
from napari_uld.lesions.beside import findings_path
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings

SCANS, EACH = 4, 5
SIDE, SLICES = 64, 24


def folder_of_scans(folder: Path, scans: int = SCANS) -> Path:
    """NIfTI scans of water in air, each with a noise of its own."""
    folder.mkdir(parents=True)
    for i in range(scans):
        hu = np.full((SIDE, SIDE, SLICES), -1000, np.int16)
        hu[6:58, 6:58] = np.random.default_rng(i).integers(-20, 40, (52, 52, SLICES), dtype=np.int16)
        nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 3.0, 1.0])), folder / f"scan {i}.nii.gz")
    return folder


def suggested(entry: ScanEntry, number: int, **more: object) -> Findings:
    """Five suggestions on slices of their own; the later the scan, the surer."""
    columns: dict[str, object] = {"columns": {"disagreement": np.linspace(0.5, 0.1, EACH)}, "operating_point": 0.5}
    return Findings.from_rows(
        scan_id=read_entry(entry).scan_id,
        scan_name=entry.name,
        method="m",
        checkpoint="c",
        boxes=[[10 + 8 * i, 12, 20 + 8 * i, 24] for i in range(EACH)],
        scores=[0.6 + 0.02 * number + 0.05 * i for i in range(EACH)],
        key_slices=[3 + 4 * i for i in range(EACH)],
        **{**columns, **more},  # type: ignore[arg-type]
    )


def suggest(folder: Path) -> list[ScanEntry]:
    """Write suggestions beside every scan of a folder; give its scans in their order."""
    entries = sorted(find_scans(folder), key=lambda entry: entry.name)
    for number, entry in enumerate(entries):
        findings = suggested(entry, number)
        write_findings(findings_path(entry.path, findings.scan_id, findings.detector), findings)
    return entries
