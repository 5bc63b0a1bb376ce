"""How many of the hard negatives that a training on phantoms mined are true lesions that its tables leave out.

python benchmarks/bench_mined.py RUN data/train
"""

import argparse
from pathlib import Path

import numpy as np

from napari_uld.evaluation.overlaps import iou
from napari_uld.lesions.findings_file import SUFFIX, read_findings
from napari_uld.training.data.phantom.truth import read_truth
from napari_uld.training.miners.hard_negatives import MINED

HIT = 0.5


def main() -> None:
    """Print one line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    for epoch in sorted((arguments.run / MINED).iterdir()):
        best = np.concatenate([overlaps(path, arguments.data) for path in sorted(epoch.glob(f"*{SUFFIX}"))])
        true = int((best >= HIT).sum())
        print(f"{epoch.name}: {len(best)} mined, {true} ({true / len(best):.1%}) overlap a true lesion at IoU {HIT}")


def overlaps(path: Path, data: Path) -> np.ndarray:
    """IoU of each finding of a scan with the true lesion it overlaps most."""
    findings = read_findings(path)
    truth = read_truth(data, findings.scan_name)
    best = np.zeros(len(findings))
    for row, number in enumerate(findings.key_slices):
        cut = [lesion.boxes[int(number)] for lesion in truth if int(number) in lesion.boxes]
        if cut:
            best[row] = iou(findings.boxes[row][None], np.asarray(cut)).max()
    return best


if __name__ == "__main__":
    main()
