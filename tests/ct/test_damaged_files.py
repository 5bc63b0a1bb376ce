"""Damaged files are read or refused with a typed error; nothing else comes out of the reader."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_uld.ct import read_scan
from napari_uld.errors import UldError

from .conftest import ct_dataset, pixels_of, save

HU = np.arange(120, dtype=np.int16).reshape(4, 5, 6) - 50


def whole_files(folder):
    save(ct_dataset(pixels_of(1)[0], (0, 0, 0), WindowCenter=40, WindowWidth=400), folder / "raw.dcm")
    nib.save(nib.Nifti1Image(HU.T, np.diag([-1, -1, 2, 1])), folder / "scan.nii")
    (folder / "scan.nii.gz").write_bytes(gzip.compress((folder / "scan.nii").read_bytes()))
    image = sitk.GetImageFromArray(HU)
    sitk.WriteImage(image, folder / "scan.nrrd")
    sitk.WriteImage(image, folder / "scan.mha", True)
    return sorted(folder.iterdir())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_give_a_scan_or_a_typed_error(tmp_path, data):
    (tmp_path / "whole").mkdir(exist_ok=True)
    files = sorted((tmp_path / "whole").iterdir()) or whole_files(tmp_path / "whole")
    file = data.draw(st.sampled_from(files))
    raw = bytearray(file.read_bytes())
    changes = st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    for place, value in data.draw(changes):
        raw[place] = value
    (tmp_path / file.name).write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outcome = str(read_scan(tmp_path / file.name).hu.dtype)
        except UldError as error:
            outcome = str(error)
    assert outcome == "int16" or str(tmp_path) in outcome
    (tmp_path / file.name).unlink()


def test_a_nifti_whose_data_begin_beyond_all_bounds_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(HU.T, np.diag([-1, -1, 2, 1])), tmp_path / "scan.nii")
    raw = bytearray((tmp_path / "scan.nii").read_bytes())
    raw[111] = 95  # the exponent of the offset of the data, a float
    (tmp_path / "scan.nii").write_bytes(raw)
    with pytest.raises(UldError, match="scan.nii"):
        read_scan(tmp_path / "scan.nii")
