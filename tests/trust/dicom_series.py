"""Small DICOM series of a body in air, to be spoilt in one way or another."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
Change = Callable[[Dataset, int], None]


def body(count: int = 12, size: int = 32, insert: int = 90) -> np.ndarray:
    """Noisy tissue in air with an insert, int16 HU (count, size, size), no two slices alike."""
    noise = np.random.default_rng(count).normal(0, 8, (count, size, size))
    hu = np.full((count, size, size), -1000.0) + np.abs(noise)
    hu[:, 4:-4, 4:-4] = 40 + noise[:, 4:-4, 4:-4]
    hu[:, 10:16, 10:16] = insert + noise[:, 10:16, 10:16]
    return hu.astype(np.int16)


def ct(hu: np.ndarray, z: float, number: int, uid: str, intercept: int = -1024) -> Dataset:
    """One slice whose stored values are unsigned, as most scanners write them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "P", "1.2.3", uid
    dataset.Modality, dataset.SeriesDescription, dataset.InstanceNumber = "CT", "Abdomen", number
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-10.0, -10.0, float(z)], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.8], 5.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, intercept
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = (hu.astype(np.int32) - intercept).astype(np.uint16).tobytes()
    return dataset


def save(dataset: Dataset, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file


def write(
    folder: Path,
    hu: np.ndarray | None = None,
    *,
    along: Sequence[float] | None = None,
    uid: str = "1.2.3.4",
    start: int = 1,
    prefix: str = "IM",
    change: Change | None = None,
) -> list[Path]:
    """Write a series of 5 mm from head to feet, numbered from `start`; `change(dataset, index)` spoils a slice."""
    hu = body() if hu is None else hu
    along = [-5.0 * index for index in range(len(hu))] if along is None else along
    files = []
    for index, (image, z) in enumerate(zip(hu, along, strict=True)):
        dataset = ct(image, z, start + index, uid)
        if change is not None:
            change(dataset, index)
        files.append(save(dataset, folder / f"{prefix}{start + index:04d}.dcm"))
    return files


def setting(**tags: object) -> Change:
    """A change that sets the same tags on every slice; a callable gives each slice its own value."""

    def change(dataset: Dataset, index: int) -> None:
        for tag, value in tags.items():
            setattr(dataset, tag, value(index) if callable(value) else value)

    return change


def group(**tags: object) -> Dataset:
    """One item of a sequence."""
    item = Dataset()
    for tag, value in tags.items():
        setattr(item, tag, value)
    return item


def enhanced(
    hu: np.ndarray, along: Sequence[float], *, stacks: Sequence[str] | None = None, intercepts: Sequence[int] = ()
) -> Dataset:
    """An enhanced CT of one frame a slice, with an intercept for each frame where there are several."""
    dataset = ct(hu[0], 0, 1, generate_uid())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, tag)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    shared = group(
        PixelMeasuresSequence=Items([group(PixelSpacing=[0.8, 0.7], SliceThickness=4)]),
        PlaneOrientationSequence=Items([group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        FrameVOILUTSequence=Items([group(WindowCenter=40, WindowWidth=400)]),
    )
    frames = []
    for index, z in enumerate(along):
        intercept = intercepts[index] if intercepts else -1024
        rescale = group(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU")
        frame = group(
            PlanePositionSequence=Items([group(ImagePositionPatient=[-10, -10, float(z)])]),
            PixelValueTransformationSequence=Items([rescale]),
        )
        if stacks is not None:
            frame.FrameContentSequence = Items([group(StackID=stacks[index])])
        frames.append(frame)
    dataset.NumberOfFrames = len(hu)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = Items([shared]), Items(frames)
    by = np.array(intercepts or [-1024] * len(hu))[:, None, None]
    dataset.PixelData = (hu.astype(np.int32) - by).astype(np.uint16).tobytes()
    return dataset
