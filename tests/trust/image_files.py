"""Small image files, byte by byte: what the trust tests begin with and the fuzzer damages."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING = (0.75, 0.5, 2.0)  # x, y, z in mm
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def body(shape=(4, 12, 16)):
    """Air, fat, tissue with a scanner's noise and bone, int16 (z, y, x)."""
    hu = np.random.default_rng(0).normal(40, 10, shape)
    hu[:, :3] -= 1040
    hu[:, 3] = -100
    hu[:, -1] = 700
    return np.rint(hu).clip(-1024).astype(np.int16)


def nrrd(values=None, **changes):
    """A NRRD in LPS; `changes` replace fields (a space in a name is written _), None leaves one out."""
    values = body() if values is None else values
    z, y, x = values.shape
    dx, dy, dz = SPACING
    fields = {
        "type": {"i2": "short", "u1": "uchar", "f4": "float"}[values.dtype.str[1:]],
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": f"{x} {y} {z}",
        "space directions": f"({dx},0,0) (0,{dy},0) (0,0,{dz})",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(-10,-20,30)",
    } | {name.replace("_", " "): value for name, value in changes.items()}
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if fields["encoding"] == "gzip":
        data = gzip.compress(data, mtime=0)
    lines = ["NRRD0005", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\n".join([*lines, "", ""]).encode() + (b"" if "data file" in fields else data)


def metaimage(values=None, *, packed=False, **changes):
    """A MetaImage; `changes` replace fields, None leaves one out."""
    values = body() if values is None else values
    z, y, x = values.shape
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    data = zlib.compress(data) if packed else data
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed),
        "CompressedDataSize": str(len(data)) if packed else None,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-10 -20 30",
        "ElementSpacing": " ".join(map(str, SPACING)),
        "DimSize": f"{x} {y} {z}",
        "ElementType": {"i2": "MET_SHORT", "u1": "MET_UCHAR", "f4": "MET_FLOAT"}[values.dtype.str[1:]],
    } | changes
    # What follows ElementDataFile is voxels.
    fields["ElementDataFile"] = fields.pop("ElementDataFile", "LOCAL")
    header = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None).encode()
    return header + (data if fields["ElementDataFile"] == "LOCAL" else b"")


def nifti(values=None, *, sform=None, qform=None, pixdim=None, unit=2, second=False, intent=None):
    """A NIfTI, unpacked; without any affine it has an sform of `SPACING`."""
    values = body() if values is None else values
    if sform is None and qform is None:
        sform = LPS_TO_RAS @ np.diag([*SPACING, 1.0])
    image = (nib.Nifti2Image if second else nib.Nifti1Image)(values.T, None)
    image.header.set_zooms([*SPACING, 1.0, 1.0][: values.ndim])
    if qform is not None:
        image.set_qform(qform, 1)
    if sform is not None:
        image.set_sform(sform, 1)
    image.header["xyzt_units"] = unit
    if pixdim is not None:
        image.header["pixdim"][1:4] = pixdim
    if intent is not None:
        image.header["intent_code"] = intent
    return image.to_bytes()


def ct_series(folder: Path, stored=None, *, intercept=-1024, shift=0.0) -> Path:
    """A DICOM series of 16-bit pixels (z, y, x) with `SPACING`; each slice lies `shift` mm further to the back."""
    stored = (body() + 1024).astype(np.uint16) if stored is None else stored
    folder.mkdir(parents=True, exist_ok=True)
    dx, dy, dz = SPACING
    for z, image in enumerate(stored):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "1.2.3.4", "CT"
        dataset.SeriesDescription, dataset.InstanceNumber, dataset.SliceThickness = "Chest", z + 1, dz
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImagePositionPatient = [-10.0, -20.0 + shift * z, 30.0 + dz * z]
        dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [dy, dx]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, intercept
        dataset.Rows, dataset.Columns = image.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = np.ascontiguousarray(image).tobytes()
        pydicom.dcmwrite(folder / f"{z:03d}.dcm", dataset, enforce_file_format=True)
    return folder


def write(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file
