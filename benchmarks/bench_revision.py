"""An earlier revision against the working tree, in interleaved pairs: a training step, a slice, a demo's start.

python benchmarks/bench_revision.py REVISION [--pairs 11] [--what step slice demo]

Each pair runs both, each in a process of its own, and who goes first changes from pair to pair; the ratio (now over
then) is taken pair by pair. A demo starts in a real window: without a display run this under xvfb-run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHAT = ("step", "slice", "demo")

# Every process that begins, the detector's too, looks for the package in one tree, whatever is installed.
SITE = """
import importlib.util, os, sys
tree = os.environ["NAPARI_ULD_TREE"]
FOLDERS = {"napari_uld": "napari_uld", "napari_uld.training": "training", "napari_uld.sample_data": "sample_data"}
class InTree:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in FOLDERS:
            return None
        folder = os.path.join(tree, FOLDERS[name])
        file = os.path.join(folder, "__init__.py")
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[folder])
sys.meta_path.insert(0, InTree)
"""
HEAD = "import json, os, statistics, sys, tempfile, time\nfrom pathlib import Path\n"
SLICE = """
from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.inference.catalogue import bundled_checkpoints
from napari_uld.inference.checkpoint import load_checkpoint
try:
    from napari_uld.inference.candidates import candidates
except ImportError:
    from napari_uld.inference.detect import run_slabs as candidates
from napari_uld.inference.slabs import extract_slab
root = Path(os.environ["NAPARI_ULD_TREE"]) / "sample_data" / "phantom"
(series,) = [folder.name for folder in (root / "Images_png").iterdir()]
scan = read_slices(root, series, slices_on_disk(root, series))
seconds = []
for name, path in bundled_checkpoints().items():
    detector = load_checkpoint(path, "cpu")
    if getattr(detector.inputs, "volume", False):
        continue
    for z in [0, *range(scan.shape[0])]:
        started = time.perf_counter()
        list(candidates([extract_slab(scan.hu, scan.spacing, z, detector.inputs)], detector))
        seconds.append(time.perf_counter() - started)
print(json.dumps(statistics.fmean(seconds)))
"""
STEP = """
from napari_uld.training.loop import TrainingOptions, train
try:
    from napari_uld.detectors.specs.recipe import load_recipe
except ImportError:
    from napari_uld.training.recipe import load_recipe
seconds = []
for name in ("faster_rcnn_bmc", "mask_rcnn", "retinanet_dense_ag"):
    with tempfile.TemporaryDirectory() as out:
        options = TrainingOptions(Path(os.environ["NAPARI_ULD_DATA"]), Path(out), device="cpu")
        try:
            recipe = load_recipe(name, "small")
        except TypeError:
            recipe = load_recipe(name, small=True)
        work = train(recipe, options)
        next(work)
        for step in range(12):
            started = time.perf_counter()
            next(work)
            if step > 1:
                seconds.append(time.perf_counter() - started)
        work.close()
print(json.dumps(statistics.fmean(seconds)))
"""
# A process that is spawned imports the script again: only the first one opens a window.
DEMO = """
if __name__ == "__main__":
    started = time.perf_counter()
    from napari_uld.cli import main
    sys.argv = ["napari-uld", "demo", "--screenshot", tempfile.mktemp(suffix=".png")]
    try:
        main()
    except SystemExit as done:
        assert not done.code, done.code
    print(json.dumps(time.perf_counter() - started))
"""
SCRIPTS = {"step": STEP, "slice": SLICE, "demo": DEMO}


def seconds_of(what: str, tree: Path, folder: Path) -> float:
    """Run one measurement in a tree; `folder` has the scripts and the phantoms."""
    paths = {"PYTHONPATH": str(folder), "NAPARI_ULD_TREE": str(tree), "NAPARI_ULD_DATA": str(folder / "phantoms")}
    command = [sys.executable, "-W", "ignore", str(folder / f"{what}.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | paths)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        # A window may still die on its way out: what was measured counts.
        return float(json.loads(last))
    except ValueError:
        sys.exit(f"{what} in {tree} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Print each pair's ratio, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        then = folder / "then"
        (folder / "sitecustomize.py").write_text(SITE)
        for what in WHAT:
            (folder / f"{what}.py").write_text(HEAD + SCRIPTS[what])
        add = ["git", "worktree", "add", "--detach", "--quiet", str(then), given.revision]
        subprocess.run(add, cwd=ROOT, check=True)
        try:
            make = [
                sys.executable,
                "-m",
                "napari_uld.cli",
                "phantom",
                str(folder / "phantoms"),
                "--patients",
                "8",
                "--seed",
                "3",
            ]
            subprocess.run(make, check=True, capture_output=True)
            for what in given.what:
                ratios, times = [], []
                for pair in range(given.pairs):
                    order = (ROOT, then) if pair % 2 else (then, ROOT)
                    seconds = {tree: seconds_of(what, tree, folder) for tree in order}
                    ratios.append(seconds[ROOT] / seconds[then])
                    times.append((seconds[then], seconds[ROOT]))
                middle = [statistics.median(column) for column in zip(*times, strict=True)]
                low, high = sorted(ratios)[len(ratios) // 10], sorted(ratios)[-1 - len(ratios) // 10]
                print(
                    f"{what}: median ratio {statistics.median(ratios):.3f}, all but the outermost in "
                    f"[{low:.3f}, {high:.3f}], {middle[0]:.3f} s then, {middle[1]:.3f} s now ({given.pairs} pairs)"
                )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(then)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
