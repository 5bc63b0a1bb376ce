"""Damage the small files that the package reads, at random, and see that each is read or refused with a typed error.

python -m tests.trust.fuzz_files --seconds 60 --seed 0
"""

import argparse
import io
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as serialize

from napari_uld.ct.dl_info import COLUMNS, read_dl_info
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.errors import UldError
from napari_uld.inference.catalogue import FORMAT, read_info
from napari_uld.lesions.annotation_file import read_annotations, save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.lesions.harvester import read_box_pickle
from napari_uld.lesions.recovery import unsaved_lesions
from napari_uld.lesions.rle import encode
from napari_uld.training.data.coco import CocoImage, read_coco
from napari_uld.training.data.coco_tables import read_results
from napari_uld.training.run_files import KEYS, STATE_VERSION, read_log, read_state

LIMIT = 10  # seconds that a file may take
BATCH = 100  # files to a process: one that crashes takes no more with it
ROW = (
    "000001_01_01_109.png,1,1,1,109,"
    '"10, 20, 40, 60, 20, 30, 30, 20","5, 15, 45, 65","50, 14","0.4, 0.5, 0.6",3,0,"103, 115","0.8, 0.8, 5","512, 512",'
    '"-175, 275",F,62,3'
)
MASK = encode(np.eye(4, dtype=bool))
# What people and programs put where something else was meant.
PIECES = [b"", b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 40]
PIECES += [b"[" * 3000, b"0.5", b"true", b"\r\n", b",", "ä".encode(), b"\\ud800", b"\x80\x04", b"Infinity"]
Reader = Callable[[Path], object]


def seeds(folder: Path) -> dict[str, tuple[bytes, Reader]]:
    """A good file of each kind, and what reads it."""
    path = folder / "seed"
    lesions = Annotations("scan", [Annotation(f"l:{i}", "scan", i, (1.0, 2.0, 9.0, 9.0), mask=MASK) for i in range(3)])
    save_annotations(path, lesions, scan_name="case", scan_source="case.nii")
    annotations = path.read_bytes()
    rows = {"boxes": [(1.0, 2.0, 9.0, 9.0)] * 2, "scores": [0.5, 0.9], "key_slices": [3, 4], "masks": (MASK, None)}
    found = Findings.from_rows(scan_id="s", scan_name="n", method="m", checkpoint="c", **rows)
    write_findings(path, found)
    image = {"id": 1, "file_name": "a.png", "width": 50, "height": 50}
    coco = {"images": [image], "annotations": [{"image_id": 1, "bbox": [1, 2, 10, 10], "noisy": 0}]}
    recipe = load_recipe("faster_rcnn", "small").model_dump(mode="json")
    described = json.dumps({"version": 3, "recipe": recipe, "evaluation": {"fp_per_image": [2], "scores": [0.5]}})
    state = io.BytesIO()
    torch.save({**dict.fromkeys(KEYS, 0), "version": STATE_VERSION, "recipe": recipe, "model": torch.zeros(3)}, state)
    toml = '[method]\nname = "x"\ntitle = "X"\npaper = "o"\nhost = "faster_rcnn"\n[training]\nlr = 0.1\n[small]\n'
    volume, row = "000001_01_01_103-115", [11.5, 21.0, 31.0, 41.0, 6.0, 6.0]
    on_slices = pickle.dumps({f"{volume}.annot": {6: [[np.float64(value) for value in row]]}}, 2)
    manual = pickle.dumps({"test": {volume: np.array([[10.0, 20, 103, 30, 40, 105]])}}, 3)
    results = json.dumps([{"image_id": 1, "bbox": [1, 2, 10, 10], "score": 0.5}]).encode()
    true_boxes = [CocoImage("a.png", 50, 50, np.zeros((0, 4)), np.zeros(0, bool), 1)]
    entry = {"action": "add", "scan_id": "scan", "before": None, "after": json.loads(annotations)["lesions"][0]}
    return {
        "annotations": (annotations, read_annotations),
        "findings": (path.read_bytes(), read_findings),
        "coco": (json.dumps(coco).encode(), read_coco),
        "coco results": (results, lambda p: read_results(p, true_boxes)),
        "lesions on slices": (on_slices, read_box_pickle),
        "manual 1K": (manual, read_box_pickle),
        "review log": (json.dumps(entry).encode() + b"\n", lambda p: unsaved_lesions([p], Annotations("scan"), "")),
        "table": (f"{','.join(COLUMNS)}\n{ROW}\n".encode(), _read_table),
        "recipe": (toml.encode(), load_recipe),
        "checkpoint": (serialize({"a": np.zeros(4, np.float16)}, {FORMAT: described}), lambda p: read_info(p).digest),
        "state": (state.getvalue(), lambda p: read_state(p, load_recipe("faster_rcnn", "small"), 0)),
        "training log": (b'{"event": "start", "notes": []}\n', read_log),
    }


def _read_table(path: Path) -> object:
    info = read_dl_info(path)
    return [annotations_from_dl_info(info, series, "scan") for series in info.by_series]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file with one to four things wrong with it."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([0, 1, 1, 4, 30]))
        match rng.randrange(5):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + bytes([rng.randrange(256)]) + data[end:]
            case 2:
                data = data[:at] + rng.choice(PIECES) + data[end:]
            case 3:
                data = data[:at] + data[at:end] * rng.choice([0, 2, 50]) + data[end:]
            case 4:  # one number or word for another
                words = data.split(b" ")
                words[rng.randrange(len(words))] = rng.choice(PIECES)
                data = b" ".join(words)
    return data


def outcome(read: Reader, path: Path) -> str:
    """Read a file: "read", "refused", or what went wrong."""

    def hang(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(LIMIT)
    try:
        read(path)
    except UldError as error:
        return "refused" if str(error) and "Traceback" not in str(error) else "no sentence"
    except TimeoutError:
        return "hang"
    except BaseException as error:  # noqa: BLE001  whatever it is, it is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"untyped {type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.alarm(0)
    return "read"


def batches(folder: Path, seed: int) -> Iterator[Counter[tuple[str, str]]]:
    """Read one batch of damaged files after another, each in a process of its own, and count what became of them."""
    kinds, batch = seeds(folder), 0
    for kind, (data, read) in kinds.items():
        (folder / "whole").write_bytes(data)
        assert outcome(read, folder / "whole") in ("read", "refused" if kind == "state" else "read"), kind
    while True:
        batch += 1
        told, tell = os.pipe()
        pid = os.fork()
        if not pid:
            rng = random.Random(f"{seed} {batch}")
            for _ in range(BATCH):
                kind, (data, read) = rng.choice(list(kinds.items()))
                (folder / "damaged").write_bytes(damaged(data, rng))
                os.write(tell, (json.dumps([kind, outcome(read, folder / "damaged")]) + "\n").encode())
            os._exit(0)
        os.close(tell)
        with os.fdopen(told) as lines:
            counts = Counter(tuple(json.loads(line)) for line in lines)
        if os.waitpid(pid, 0)[1]:
            counts["a file", f"crash in batch {batch}"] += 1
        yield counts


def fuzz(seconds: float, seed: int) -> Counter[tuple[str, str]]:
    """Count, by kind of file, what became of files damaged for so many seconds."""
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        end = time.monotonic() + seconds
        for batch in batches(Path(folder), seed):
            counts += batch
            if time.monotonic() > end:
                break
    return counts


def faults(counts: Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """What is neither read nor refused."""
    return {key: count for key, count in counts.items() if key[1] not in ("read", "refused")}


def main() -> int:
    """Fuzz, print the counts, and give 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts = fuzz(asked.seconds, asked.seed)
    lines = [f"{count:7} {kind}: {what}\n" for (kind, what), count in sorted(counts.items())]
    found = faults(counts)
    sys.stdout.write("".join(lines) + f"{counts.total()} files, {sum(found.values())} faults\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
