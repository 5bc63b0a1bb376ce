"""Image files for the fuzzer: every format and way of storing, and how SimpleITK and nibabel read them."""

import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from napari_uld.ct.geometry import Stack, to_volume

from .fuzz_readers import Opinion, Sample
from .image_files import LPS_TO_RAS, SPACING, body, metaimage, nifti, nrrd


def samples() -> list[Sample]:
    """Whole files."""
    turned = (
        LPS_TO_RAS @ np.diag([*SPACING, 1.0]) @ np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    )
    scaled = nib.Nifti1Image(body().T, LPS_TO_RAS @ np.diag([*SPACING, 1.0]))
    scaled.header.set_slope_inter(2.0, -100.0)
    one = {
        "scan.nrrd": nrrd(),
        "packed.nrrd": nrrd(encoding="gzip"),
        "ras.nrrd": nrrd(space="right-anterior-superior"),
        "plain.nrrd": nrrd(space=None, space_directions=None, space_origin=None, spacings="0.75 0.5 2"),
        "text.nrrd": nrrd(encoding="text", data_file=None),
        "float.nrrd": nrrd(body().astype(np.float32)),
        "scan.mha": metaimage(),
        "packed.mha": metaimage(packed=True),
        "float.mha": metaimage(body().astype(np.float32), packed=True),
        "turned.mha": metaimage(TransformMatrix="0 1 0 -1 0 0 0 0 1"),
        "scan.nii": nifti(),
        "scan.nii.gz": gzip.compress(nifti(), mtime=0),
        "float.nii.gz": gzip.compress(nifti(body().astype(np.float32)), mtime=0),
        "second.nii": nifti(second=True),
        "turned.nii": nifti(qform=turned, sform=turned),
        "scaled.nii": scaled.to_bytes(),
    }
    text = " ".join(map(str, body().ravel())).encode()
    head = nrrd(encoding="text", data_file="x").replace(b"data file: x\n", b"")
    one["text.nrrd"] = head + text
    raw = body().tobytes()
    two = {
        "pair.mhd": (metaimage(ElementDataFile="pair.raw"), {"pair.raw": raw}),
        "pair.nhdr": (nrrd(data_file="pair.raw"), {"pair.raw": raw}),
    }
    return [Sample(name, name, {name: data}) for name, data in one.items()] + [
        Sample(name, name, {name: header, **data}) for name, (header, data) in two.items()
    ]


def second_opinion(path: Path) -> Opinion:
    """Read with nibabel (NIfTI) or SimpleITK."""
    if ".nii" in path.name:
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).T
        lps = LPS_TO_RAS @ image.affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        direction, origin = lps[:3, :3] / spacing, lps[:3, 3]
    else:
        text = path.read_bytes()[:600]
        if b"CompressedData = True" in text and not re.search(rb"(?m)^CompressedDataSize = 0*[1-9]", text):
            raise ValueError("SimpleITK gives what happens to lie in memory where a header lacks this size, or says 0")
        read = sitk.ReadImage(str(path))
        values, dimension = sitk.GetArrayFromImage(read), read.GetDimension()
        spacing, origin = np.array(read.GetSpacing())[:3], np.array(read.GetOrigin())[:3]
        direction = np.array(read.GetDirection()).reshape(dimension, dimension)[:3, :3]
    while values.ndim > 3:
        (values,) = values
    values = np.where(np.isfinite(values), values, -1024)
    hu = np.rint(np.clip(values, -32768, 32767)).astype(np.int16)
    x, y, z = map(float, spacing)
    volume = to_volume(Stack(hu, (z, y, x), origin, direction, np.arange(len(hu))), source=path, name="")
    return Opinion(volume.hu, volume.spacing, volume.origin)
