"""Damages files at random and reads them: nothing but a scan or a typed error may come out, and no other voxels.

    python -m tests.trust.fuzz_readers --seconds 60 --seed 0

What is damaged comes from the modules beside this one that are called ``corpus_*``. Each has ``samples()``, a list of
`Sample`, and ``second_opinion(path)``, which reads a path with another library as `Opinion` or raises.
"""

import argparse
import importlib
import multiprocessing
import re
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

LIMIT = 10.0  # seconds for one file
FEWEST = 40  # files, however little time there is
MEMORY = 8 << 30  # bytes: who believes a header's sizes meets it


@dataclass(frozen=True)
class Sample:
    """Whole files, and the name of the one that is opened ("." for their folder).

    Where it is known of how many `slices` they are, opening fewer without a word is wrong whatever others make of it.
    """

    name: str
    opened: str
    files: dict[str, bytes]
    slices: int = 0


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a reader makes of a scan, turned to left, back and head: HU and spacing (z, y, x), origin; in mm."""

    hu: np.ndarray
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    said: tuple[str, ...] = ()

    def differs(self, other: "Opinion") -> str:
        """Name what differs, "" for nothing."""
        if self.hu.shape != other.hu.shape:
            return f"shape {self.hu.shape} against {other.hu.shape}"
        if not np.array_equal(self.hu, other.hu):
            return f"{(self.hu != other.hu).mean():.2%} of the voxels"
        for what in ("spacing", "origin"):
            mine, others = getattr(self, what), getattr(other, what)
            if not np.allclose(mine, others, rtol=1e-4, atol=1e-3):
                return f"{what} {mine} against {others}"
        return ""


@dataclass
class Result:
    """What came of all damaged files; what must not be is kept with the seed's step that made it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def corpora(only: str = "*") -> Iterator[tuple[str, list[Sample]]]:
    """Give each corpus module's name and samples."""
    for file in sorted(Path(__file__).parent.glob(f"corpus_{only}.py")):
        name = f"{__package__}.{file.stem}"
        yield name, importlib.import_module(name).samples()


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one to three places, its beginning more often than the rest."""
    for _ in range(rng.integers(1, 4)):
        data = WAYS[rng.integers(len(WAYS))](data, rng)
    return data


def _place(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(max(1, min(len(data), 600) if rng.random() < 0.6 else len(data))))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :] if data else data


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]


def _leave_out(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 65)) :]


def _blank(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = _place(data, rng), int(rng.integers(1, 65))
    return data[:at] + bytes([int(rng.choice([0, 255]))]) * len(data[at : at + length]) + data[at + length :]


def _repeat_line(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data[:600].split(b"\n")
    line = lines[rng.integers(len(lines))]
    return b"\n".join([*lines[:1], line, *lines[1:]]) + data[600:]


def _other_number(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a number that is written as text, or an integer or a float that is not."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:600]))
    odd = [b"0", b"-1", b"1", b"4", b"99999999", b"4294967297", b"1e308", b"nan", b"%s", b"../x", b""]
    if found and rng.random() < 0.7:
        one = found[rng.integers(len(found))]
        return data[: one.start()] + odd[rng.integers(len(odd))] + data[one.end() :]
    at = _place(data, rng) & ~3
    value = rng.choice(np.array([0, -1, 1, 2**31 - 1, -(2**31), 0x7FC00000, 65536], np.int64))
    return data[:at] + np.int64(value).astype(np.int32).tobytes() + data[at + 4 :]


WAYS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    *(_flip, _cut, _insert, _leave_out, _blank, _repeat_line, _other_number),
)


class Reader:
    """A process that reads what it is told, and is replaced where it dies or takes too long."""

    def __init__(self, read: Callable[[str, str], Opinion]) -> None:
        self._read = read
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, self._read), daemon=True)
        self._process.start()
        end.close()
        self._pipe.recv()  # everything is imported, and the clock may run

    def ask(self, corpus: str, path: Path) -> Opinion | str:
        """Read one path, or say how it failed."""
        self._pipe.send((corpus, str(path)))
        try:
            if self._pipe.poll(LIMIT):
                return self._pipe.recv()
            failed = "hang"
        except (EOFError, ConnectionError):
            failed = "crash"
        self.stop()
        self._start()
        return failed

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, read: Callable[[str, str], Opinion]) -> None:
    warnings.simplefilter("ignore")
    import SimpleITK as sitk

    from napari_uld.errors import UldError

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pipe.send("ready")
    while True:
        try:
            corpus, path = pipe.recv()
        except EOFError:
            return
        try:
            answer: Opinion | str = read(corpus, path)
        except UldError as error:
            answer = f"typed {type(error).__name__}" if str(Path(path).parent) in str(error) else f"nameless {error}"
        except Exception as error:  # noqa: BLE001 what else comes out is what is looked for
            answer = f"untyped {type(error).__name__}: {error}"
        pipe.send(answer)


def read_ours(corpus: str, path: str) -> Opinion:
    """Read with the product; `corpus` makes no difference."""
    from napari_uld.ct import read_scan

    volume = read_scan(path)
    return Opinion(volume.hu, volume.spacing, volume.origin, volume.corrections)


def read_second(corpus: str, path: str) -> Opinion:
    """Read with the library that the corpus names."""
    return importlib.import_module(corpus).second_opinion(Path(path))


def fuzz(seconds: float, seed: int, keep: Path | None = None, only: str = "*") -> Result:
    """Damage and read for so long; files that came out wrong are copied to `keep`."""
    rng = np.random.default_rng(seed)
    samples = [(corpus, sample) for corpus, some in corpora(only) for sample in some]
    result = Result()
    ours, second = Reader(read_ours), Reader(read_second)
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    try:
        end = time.monotonic() + seconds
        step = 0
        # A busy machine gets through a few as well.
        while time.monotonic() < end or step < FEWEST:
            corpus, sample = samples[rng.integers(len(samples))]
            where = folder / str(step)
            where.mkdir()
            chosen = list(sample.files)[rng.integers(len(sample.files))]
            for name, data in sample.files.items():
                (where / name).write_bytes(damage(data, rng) if name == chosen else data)
            path = where if sample.opened == "." else where / sample.opened
            outcome = _judge(ours.ask(corpus, path), sample.slices, lambda c=corpus, p=path: second.ask(c, p))
            result.outcomes[outcome.split(":")[0]] += 1
            if outcome.startswith(("untyped", "nameless", "crash", "hang", "silent")):
                result.wrong.append(f"step {step}, {sample.name}: {outcome}")
                if keep:
                    shutil.copytree(where, keep / f"{seed}_{step}_{sample.name}", dirs_exist_ok=True)
            shutil.rmtree(where)
            step += 1
    finally:
        ours.stop()
        second.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _judge(mine: Opinion | str, slices: int, ask_second: Callable[[], Opinion | str]) -> str:
    """Say what came of one file."""
    if isinstance(mine, str):
        return mine
    if mine.said:
        return "opened and said"
    if len(mine.hu) < slices:
        return f"silent difference: {len(mine.hu)} of {slices} slices"
    other = ask_second()
    if isinstance(other, str):
        return "opened, the other reader does not"
    difference = mine.differs(other)
    return f"silent difference: {difference}" if difference else "opened alike"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for what came out wrong")
    parser.add_argument("--only", default="*", help="one corpus: images, dicom")
    given = parser.parse_args()
    result = fuzz(given.seconds, given.seed, given.keep, given.only)
    print(f"{result.outcomes.total()} damaged files")  # noqa: T201
    for outcome, count in result.outcomes.most_common():
        print(f"{count:8d} {outcome}")  # noqa: T201
    for one in result.wrong:
        print(one)  # noqa: T201
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
