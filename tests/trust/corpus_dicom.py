"""DICOM series for the fuzzer: every transfer syntax and way of keeping slices, and how GDCM reads them."""

import io
import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from napari_uld.ct.geometry import Stack, to_volume

from .dicom_series import enhanced
from .fuzz_readers import Opinion, Sample
from .image_files import body, ct_series

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg_2000": JPEG2000Lossless,
}


PHOTOMETRIC = "0028|0004"
INTERCEPT = "0028|1052"
KIND = "0008|0016"
# The encoder of JPEG 2000 wants images larger than the others.
SIZES = {"jpeg_2000": (3, 32, 32)}


def samples() -> list[Sample]:
    """Whole series."""
    series = {name: [_stored(one, name) for one in _slices(SIZES.get(name, (4, 12, 16)))] for name in SYNTAXES}
    frames = enhanced(body(), [30.0 + 2 * z for z in range(4)])
    _name(frames, 0)
    multi = {name: _stored(frames, name) for name in ("explicit", "jpeg_ls")}
    whole = [
        *(Sample(f"{name}.dcm", ".", _named(files, ".dcm"), len(files)) for name, files in series.items()),
        Sample("no suffix", ".", _named(series["explicit"], ""), 4),
        Sample("one of a series.dcm", "001.dcm", _named(series["jpeg_ls"], ".dcm"), 4),
        Sample("no preamble.dcm", ".", _named([data[132:] for data in series["explicit"]], ".dcm"), 4),
    ]
    return whole + [Sample(f"enhanced {name}.dcm", "all.dcm", {"all.dcm": data}, 4) for name, data in multi.items()]


def _named(files: list[bytes], suffix: str) -> dict[str, bytes]:
    return {f"{z:03d}{suffix}": data for z, data in enumerate(files)}


def _slices(shape: tuple[int, int, int]) -> list[Dataset]:
    """The body's slices, the same at every call."""
    stored = (body(shape) + 1024).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        slices = [pydicom.dcmread(file) for file in sorted(ct_series(Path(folder), stored).iterdir())]
    for z, dataset in enumerate(slices):
        _name(dataset, z)
    return slices


def _name(dataset: Dataset, z: int) -> None:
    """Replace what is random in a data set, so that a seed damages the same bytes again."""
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{z + 1}"
    dataset.SeriesInstanceUID = "1.2.3.4"


def _stored(dataset: Dataset, name: str) -> bytes:
    """Write a data set in a transfer syntax."""
    dataset, syntax = deepcopy(dataset), SYNTAXES[name]
    if syntax == JPEGLosslessSV1:
        _compress_to_jpeg(dataset)
    elif syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    # Without what a data set remembers of the file that it was read from.
    written = Dataset(dict(dataset.items()))
    written.file_meta = dataset.file_meta
    file = io.BytesIO()
    pydicom.dcmwrite(file, written, enforce_file_format=True)
    return file.getvalue()


def _compress_to_jpeg(dataset: Dataset) -> None:
    """Have GDCM make the code stream: no encoder of pydicom makes lossless JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/jpeg.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.SetFileName(file)
        writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
        stream = next(generate_frames(pydicom.dcmread(file).PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def second_opinion(path: Path) -> Opinion:
    """Read the largest series of a folder, or the series of a file, with GDCM."""
    folder = path if path.is_dir() else path.parent
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    series = [reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))]
    files = max(series, key=len, default=())
    if sum(map(len, series)) < len(list(folder.iterdir())):
        raise ValueError("GDCM leaves out a file that it cannot read, and says nothing of it")
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute() if len(files) > 1 else sitk.ReadImage(files[0], imageIO="GDCMImageIO")
    if len(files) > 1:
        headers = [{key: reader.GetMetaData(i, key) for key in reader.GetMetaDataKeys(i)} for i in range(len(files))]
    else:
        headers = [{key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}]
    if not all(float(header.get(INTERCEPT, 0)).is_integer() for header in headers):
        raise ValueError("ITK reads all slices as the first one's type, and cuts decimals off instead of rounding")
    if any(header.get(KIND, "").strip(" \0") not in (CTImageStorage, EnhancedCTImageStorage) for header in headers):
        raise ValueError("GDCM gives objects of a kind that it does not know pixels of 1 mm")
    # Which end of the scale is shown white changes no Hounsfield units, but ITK turns the stored values round.
    if any(header[PHOTOMETRIC].strip() == "MONOCHROME1" for header in headers):
        raise ValueError("ITK inverts MONOCHROME1")
    hu = np.rint(np.clip(sitk.GetArrayFromImage(image), -32768, 32767)).astype(np.int16)
    x, y, z = image.GetSpacing()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    stack = Stack(hu, (z, y, x), np.array(image.GetOrigin()), direction, np.arange(len(hu)))
    volume = to_volume(stack, source=path, name="")
    return Opinion(volume.hu, volume.spacing, volume.origin)
