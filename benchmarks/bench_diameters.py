"""How far the diameters that one key measures lie from the true ones, in mm.

python benchmarks/bench_diameters.py [FOLDER] [--split val] [--checkpoint NAME_OR_PATH]

FOLDER is a data set in DeepLesion's layout. Its lesions are measured on their slices from their true boxes, and from
the boxes that a detector finds there (score .05 at least, IoU .5 with the true box). True are a phantom's masks, else
the table's RECISTs. Beside it stands the ellipse in the box, which looks at nothing.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.windows import Window
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.lesions.boxes import RECIST_MARGIN
from napari_uld.lesions.recist import Recist, from_mask
from napari_uld.masks.from_box import mask_from_box
from napari_uld.training.data.key_slices import KeySlice, annotated_slices, read_slab, true_slices
from napari_uld.training.data.phantom.truth import FOLDER

# Detections below it are nobody's findings.
LEAST_SCORE, LEAST_IOU = 0.05, 0.5
Measure = Callable[[np.ndarray, np.ndarray, Window], Recist]


def main() -> None:
    """Print a line for each way and each source of boxes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("runs/phantoms/train"))
    parser.add_argument("--split", default="val")
    parser.add_argument("--checkpoint", default="retinanet_dense_ag")
    arguments = parser.parse_args()
    detector = load_checkpoint(find_checkpoint(arguments.checkpoint), "cpu")
    of_phantoms = (arguments.data / FOLDER).is_dir()
    slices = (true_slices if of_phantoms else annotated_slices)(arguments.data, arguments.split)
    ways: dict[str, Measure] = {"one key": grown, "ellipse in the box": ellipse}
    errors: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for key in slices:
        hu = read_slices(arguments.data, key.series, [key.number]).hu[0]
        for boxes, source in ((key.boxes, "true boxes"), (found(arguments.data, key, detector), detector.info.name)):
            for name, way in ways.items():
                errors.setdefault((name, source), []).extend(errors_on(key, boxes, partial(way, hu)))
    print(
        f"{arguments.data}, {arguments.split}: {len(slices)} slices, truth of {'masks' if of_phantoms else 'RECISTs'}"
    )
    for (name, source), pairs in errors.items():
        print(f"{name}, {source}, {len(pairs)} lesions: {of(pairs, 0, 'long')}; {of(pairs, 1, 'short')}")


def found(data: Path, key: KeySlice, detector: LoadedDetector) -> np.ndarray:
    """(n, 4): for each lesion of a slice the detection that fits it best, NaN where there is none."""
    (output,) = candidates([read_slab(data, key, detector.inputs)], detector)
    boxes = output.boxes[output.scores >= LEAST_SCORE]
    if not len(boxes):
        return np.full_like(key.boxes, np.nan)
    overlaps = iou(key.boxes, boxes)
    best = overlaps.argmax(axis=1)
    return np.where(overlaps.max(axis=1)[:, None] >= LEAST_IOU, boxes[best], np.nan)


def errors_on(
    key: KeySlice, boxes: np.ndarray, measure: Callable[[np.ndarray, Window], Recist]
) -> list[tuple[float, float]]:
    """Errors in mm of the long and the short diameter of each lesion that has a box and was measured."""
    errors = []
    for box, true in zip(boxes, key.recists, strict=True):
        if true is not None and np.isfinite(box).all():
            ours, theirs = (each.millimetres(key.spacing) for each in (measure(box, key.window), true))
            errors.append((ours[0] - theirs[0], ours[1] - theirs[1]))
    return errors


def grown(hu: np.ndarray, box: np.ndarray, window: Window) -> Recist:
    """What the product does."""
    return from_mask(mask_from_box(hu, box, window))


def ellipse(hu: np.ndarray, box: np.ndarray, window: Window) -> Recist:
    """The ellipse in the box without its margin."""
    centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2 - RECIST_MARGIN, 1)
    y, x = np.mgrid[: hu.shape[0], : hu.shape[1]]
    return from_mask((((np.stack([x, y], axis=-1) - centre) / half) ** 2).sum(axis=-1) <= 1)


def of(pairs: list[tuple[float, float]], which: int, name: str) -> str:
    """Mean and SD of absolute errors, and the mean error."""
    errors = np.array(pairs)[:, which]
    return f"{name} {np.abs(errors).mean():.2f} +- {np.abs(errors).std():.2f} mm (bias {errors.mean():+.2f})"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
