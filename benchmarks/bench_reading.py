"""How long a DICOM folder takes to open, all checks included, against SimpleITK and, where it is installed, dicomsdl.

python benchmarks/bench_reading.py [FOLDER] [--slices 275] [--rounds 7]

Without a folder, uncompressed slices of 512 x 512 are made in a temporary one. Each round reads the folder once with
each reader, in turns, after one round that warms the system's cache and compares the voxels; what we keep of headers
from one scan to the next is forgotten before each. Printed are medians of the wall clock (s) until the headers are
known and until the volume is there, the processor's time (s) for the whole, and the median ratio of our wall clock, and
of our processor's time, to the faster of the others in the same round. The others check next to nothing.
"""

import argparse
import importlib.util
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

from napari_uld.ct import find_scans, read_entry

SIZE = 512
OURS = "napari-uld"
# A volume, and when its headers were known.
Reader = Callable[[Path], tuple[np.ndarray, float]]


def main() -> None:
    """Measure a folder that is given or made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--slices", type=int, default=275)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.folder:
        measure(arguments.folder, arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.slices)
        measure(Path(folder), arguments.rounds)


def measure(folder: Path, rounds: int) -> None:
    """Print a line for each reader, and the ratio."""
    readers: dict[str, Reader] = {OURS: with_ours, "SimpleITK": with_simpleitk}
    if importlib.util.find_spec("dicomsdl"):
        readers["dicomsdl"] = with_dicomsdl
    hu = with_ours(folder)[0]
    for name, reader in readers.items():
        if not np.array_equal(reader(folder)[0], hu):
            print(f"{name} reads other voxels than {OURS}")
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in readers}
    for number in range(rounds):
        # Whoever comes first finds the memory as the last one left it: by turns.
        names = list(readers) if number % 2 else list(readers)[::-1]
        for name in names:
            taken[name].append(timed(readers[name], folder))
    for name, times in taken.items():
        headers, volume, processor = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:12} headers {headers:.2f} s, volume {volume:.2f} s, processor {processor:.2f} s")
    for kind, column in (("wall clock", 1), ("processor", 2)):
        others = [[one[column] for one in times] for name, times in taken.items() if name != OURS]
        ratios = [one[column] / min(rest) for one, rest in zip(taken[OURS], zip(*others, strict=True), strict=True)]
        print(f"{kind}, ratio to the faster of the others: {statistics.median(ratios):.2f}")


def timed(reader: Reader, folder: Path) -> tuple[float, float, float]:
    """Give seconds until the headers are known and until the volume is there, and the processor's seconds."""
    processor, start = used(), time.perf_counter()
    _, headers = reader(folder)
    return headers - start, time.perf_counter() - start, used() - processor


def used() -> float:
    """Give the processor's seconds of this process, all threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def with_ours(folder: Path) -> tuple[np.ndarray, float]:
    """Read the folder's first scan, checked, as if it were the first one ever."""
    for module in [module for name, module in sys.modules.items() if name.startswith("napari_uld.ct.")]:
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()
    entry = find_scans(folder)[0]
    headers = time.perf_counter()
    return read_entry(entry).hu, headers


def with_simpleitk(folder: Path) -> tuple[np.ndarray, float]:
    """Read its first series with GDCM."""
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    headers = time.perf_counter()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    return sitk.GetArrayFromImage(reader.Execute()), headers


def with_dicomsdl(folder: Path) -> tuple[np.ndarray, float]:
    """Read all of its files, sorted by position, and rescale them."""
    import dicomsdl

    opened = [dicomsdl.open(str(file)) for file in sorted(folder.iterdir())]
    opened.sort(key=lambda one: one.ImagePositionPatient[2])
    headers = time.perf_counter()
    hu = np.empty((len(opened), opened[0].Rows, opened[0].Columns), np.int16)
    for place, one in enumerate(opened):
        hu[place] = one.pixelData(storedvalue=True)
        if one.RescaleSlope != 1:
            hu[place] *= int(one.RescaleSlope)
        hu[place] += int(one.RescaleIntercept)
    return hu, headers


def write(folder: Path, count: int, *, compressed: bool = False) -> None:
    """Write one series of noisy tissue in air, a millimetre apart, as it is or as lossless JPEG-LS."""
    rng = np.random.default_rng(0)
    body = np.full((SIZE, SIZE), -1000.0)
    body[60:450, 60:450] = 40
    for index in range(count):
        stored = np.clip(body + rng.normal(0, 12, body.shape) + 1024, 0, 4095).astype(np.uint16)
        dataset = slice_of(stored, index)
        if compressed:
            dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        dataset.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def slice_of(stored: np.ndarray, index: int) -> Dataset:
    """Make one slice."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{index + 1}"
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "P", "1.2.3", "1.2.3.4"
    dataset.Modality, dataset.SeriesDescription, dataset.InstanceNumber = "CT", "Abdomen", index + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-200, -200, -index], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.8], 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = stored.tobytes()
    return dataset


if __name__ == "__main__":
    main()
