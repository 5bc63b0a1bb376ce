"""The loop of mining closed once by script, and how many decisions it took.

python benchmarks/bench_loop.py PHANTOMS --checkpoint CHECKPOINT --out OUT

A detector suggests lesions on the training phantoms; the truth accepts and rejects, and what is accepted is measured as
by one key. OUT/DL_info.csv is the table with what was accepted and where it came from; the command that trains on it is
printed. PHANTOMS stays as it is. What was mined stays in OUT: several may mine at once, each its --patients, and one
without them decides on all.
"""

import argparse
import json
import shlex
from pathlib import Path

from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.progress import finish
from napari_uld.training.reports.closed_loop import close_loop


def main() -> None:
    """Print what it took, and what to do next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", required=True, help="a file, or a bundled checkpoint's name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--score", type=float, help="suggest from this score on; default the operating point")
    parser.add_argument(
        "--patients", default=":", help="which training patients, FIRST:END counted from 0; default all"
    )
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    first, _, end = asked.patients.partition(":")
    patients = slice(int(first or 0), int(end) if end else None)
    detector = load_checkpoint(find_checkpoint(asked.checkpoint), asked.device)
    report = finish(close_loop(asked.data, detector, asked.out, score=asked.score, patients=patients))
    (asked.out / "loop.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    for name, value in report.to_dict().items():
        print(f"{name:10} {value}")
    data, out = (shlex.quote(str(path)) for path in (asked.data.resolve(), asked.out))
    print(f"\nTo train on it:\nln -s {data}/Images_png {data}/truth {out}")
    print(f"napari-uld train RECIPE --small --data {out} --sources expert,mined,edited")


if __name__ == "__main__":
    main()
