"""Put the detectors that were trained out into the package, and what they find into the golden file.

python benchmarks/take_bundled.py [RUNS]

RUNS is the folder that `napari-uld experiments` keeps its runs in. A bundled detector is replaced by the finished run
of its recipe there, of several by the one that is best on the validation split. What each finds on two slices of the
sample study, or in the whole of it, goes into tests/inference/golden/bundled.json.
"""

import argparse
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_uld.ct import read_scan
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import bundled_checkpoints, read_info
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.slabs import extract_slab
from napari_uld.inference.volumes import run_volume
from napari_uld.progress import finish
from napari_uld.training.loop import CHECKPOINT

ROOT = Path(__file__).parents[1]
STUDY, GOLDEN = ROOT / "sample_data" / "phantom", ROOT / "tests" / "inference" / "golden" / "bundled.json"
# Results of runs whose weights may come with the package.
KEPT_RUNS = ("trained_out/*/result.json", "vld/vld_acs_spr-*/volumes.json")
# Of the sample study; detections a slice that are kept, and the least difference of two neighbours' scores.
SLICES, KEPT, APART = 2, 5, 1e-3


def main() -> None:
    """Copy, and write the golden file anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs/experiments"))
    arguments = parser.parse_args()
    finished = [path.parent for name in KEPT_RUNS for path in arguments.runs.glob(name)]
    there = [read_info(run / CHECKPOINT) for run in finished if (run / CHECKPOINT).is_file()]
    trained = {info.name: info.path for info in sorted(there, key=lambda info: info.evaluation["average"])}
    for name, path in bundled_checkpoints().items():
        if name in trained:
            shutil.copyfile(trained[name], path)
        print(f"{name}: {'taken' if name in trained else 'as it was'}, {path.stat().st_size / 2**20:.1f} MiB")
    torch.set_num_threads(1)
    golden = dict(seen_by(name, path) for name, path in bundled_checkpoints().items())
    text = json.dumps(golden, indent=2)
    # A box, and the scores, on one line each.
    GOLDEN.write_text(re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", flat, text) + "\n", encoding="utf-8")


def flat(numbers: re.Match[str]) -> str:
    """A list of numbers on one line."""
    return f"[{', '.join(numbers[1].split())}]".replace(",,", ",")


def seen_by(name: str, path: Path) -> tuple[str, dict[str, Any]]:
    """A checkpoint's digest, and the surest detections on the first slices where no two are as sure as each other.

    Of a volumetric detector those in the whole study.
    """
    study = read_scan(STUDY)
    detector = replace(load_checkpoint(path, "cpu"), mixed=False)
    slices: dict[str, Any] = {}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if detector.inputs.volume:
        whole = finish(run_volume(study, detector)).take(np.arange(KEPT))
        scores = [round(float(score), 5) for score in whole.scores]
        return digest, {"checkpoint": name, "whole": {"boxes": whole.boxes.round(3).tolist(), "scores": scores}}
    for z in range(len(study.hu) - 1, -1, -1):
        (found,) = candidates([extract_slab(study.hu, study.spacing, z, detector.inputs)], detector)
        scores = found.scores[: KEPT + 1]
        if len(slices) < SLICES and len(scores) > KEPT and min(-np.diff(scores)) > 2 * APART:
            boxes = found.boxes[:KEPT].round(3).tolist()
            slices[str(z)] = {"boxes": boxes, "scores": [round(float(score), 5) for score in found.scores[:KEPT]]}
    if len(slices) < SLICES:
        raise SystemExit(f"{name} finds too little on the sample study, or is as sure of everything")
    return digest, {"checkpoint": name, "slices": slices}


if __name__ == "__main__":
    main()
