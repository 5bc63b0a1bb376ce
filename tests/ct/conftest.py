"""Small CT series written as DICOM, one file a slice."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

DATA = Path(__file__).parents[2].parent / "shared" / "data"
AXIAL = (1, 0, 0, 0, 1, 0)
SeriesWriter = Callable[..., list[Path]]


@pytest.fixture
def real_data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"the real data is not at {DATA}")
    return DATA


def pixels_of(count: int, shape: tuple[int, int] = (6, 8)) -> np.ndarray:
    """Different stored values in every voxel, uint16 (count, rows, columns)."""
    return (np.arange(count * shape[0] * shape[1]) % 4000).astype(np.uint16).reshape(count, *shape)


def ct_dataset(pixels: np.ndarray, position: Sequence[float], **tags: object) -> Dataset:
    """One CT slice with stored `pixels` (16 bit) whose first pixel lies at `position` (LPS mm)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.SeriesDescription = "Chest"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [float(value) for value in position]
    dataset.ImageOrientationPatient = [float(value) for value in AXIAL]
    dataset.PixelSpacing = [0.75, 0.5]
    dataset.SliceThickness = 3.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    for tag, value in tags.items():
        if value is None:
            delattr(dataset, tag)
        else:
            setattr(dataset, tag, value)
    return dataset


def save(dataset: Dataset, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file


def positions_along_z(count: int, step: float = 2.0) -> np.ndarray:
    return np.array([[-10.0, -20.0, 100.0 + step * i] for i in range(count)])


@pytest.fixture
def write_series(tmp_path: Path) -> SeriesWriter:
    """Write slices with stored `pixels` at `positions`, numbered from 1 in that order; `tags` go to every slice."""

    def write(
        pixels: np.ndarray | None = None,
        positions: np.ndarray | None = None,
        *,
        folder: Path = tmp_path,
        numbers: Sequence[int | None] | None = None,
        **tags: object,
    ) -> list[Path]:
        positions = positions_along_z(len(pixels) if pixels is not None else 5) if positions is None else positions
        pixels = pixels_of(len(positions)) if pixels is None else pixels
        numbers = range(1, len(positions) + 1) if numbers is None else numbers
        files = []
        for index, (image, position, number) in enumerate(zip(pixels, positions, numbers, strict=True)):
            dataset = ct_dataset(image, position, **tags)
            dataset.InstanceNumber = number
            # Names in no useful order: nothing may depend on them.
            files.append(save(dataset, folder / f"{(index * 7) % 11:02d}_{index}.dcm"))
        return files

    return write
