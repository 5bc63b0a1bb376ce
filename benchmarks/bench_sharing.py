"""What a multi-image detector loses where its slabs share their images with their neighbours.

python benchmarks/bench_sharing.py [CHECKPOINT] [PHANTOMS]

Average sensitivity on the validation phantoms' whole truth, by slice thickness: images exactly where the interval says
and the body's own crop, against `InputSpec.share_images`. The bundled `3dce_bmc` was trained without.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import match_detector, score


def main() -> None:
    """Print a line for each thickness."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="3dce_bmc")
    parser.add_argument("phantoms", nargs="?", type=Path, default=Path("runs/phantoms/train"))
    arguments = parser.parse_args()
    detector = load_checkpoint(find_checkpoint(arguments.checkpoint), "cpu")
    slices = true_slices(arguments.phantoms, "val")
    for thickness in sorted({key.spacing[0] for key in slices}):
        chosen = [key for key in slices if key.spacing[0] == thickness]
        averages = []
        for share in (False, True):
            inputs = detector.inputs.model_copy(update={"share_images": share})
            matches = finish(
                match_detector(replace(detector, inputs=inputs), SlabDataset(arguments.phantoms, chosen, inputs))
            )
            averages.append(score(matches, chosen).curve.average)
        print(f"{thickness:g} mm, {len(chosen)} slices: exact {averages[0]:.3f}, shared {averages[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
