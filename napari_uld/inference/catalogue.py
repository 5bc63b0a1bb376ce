"""Which checkpoints there are and what they say of themselves; no torch here."""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from napari_uld.errors import CheckpointError
from napari_uld.lesions.findings import detector_name

FORMAT = "napari-uld checkpoint"
VERSION = 3
# The oldest version that is still read, and the one since which weights have today's names.
OLDEST_VERSION, RENAMED_IN = 2, 3
SUFFIX = ".safetensors"
# False positives a key slice where a review of its findings begins: a person rejects them faster than they find what
# is not shown, and with tables like DeepLesion's some of them are lesions that nobody listed.
OPERATING_RATE = 2.0
# In hexadecimal digits, of a checkpoint's hash.
DIGEST_LENGTH = 16


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint's own description.

    Parameters
    ----------
    path
        The file.
    known_digest
        Hash of its bytes; None for one that is computed when somebody asks, which reads the whole file.
    recipe
        The full recipe it was trained with.
    evaluation
        What it reached and on what, or an empty dict.
    version
        Of the file's format.
    """

    path: Path
    known_digest: str | None
    recipe: dict[str, Any]
    evaluation: dict[str, Any]
    version: int = VERSION

    @cached_property
    def digest(self) -> str:
        """Hash of the file's bytes.

        Raises
        ------
        CheckpointError
            If the file cannot be read any more.
        """
        if self.known_digest is not None:
            return self.known_digest
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LENGTH]
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read any more ({error}): put the file back") from error

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.recipe["method"]["name"])

    @property
    def phases(self) -> tuple[str, ...]:
        """The contrast phases of a study that it sees together; () where it sees a scan by itself."""
        return tuple(self.recipe.get("input", {}).get("phases", ()))

    @property
    def detector(self) -> str:
        """What findings of it name as what made them."""
        return detector_name(self.name, self.digest)

    @property
    def volume(self) -> bool:
        """Whether it finds bodies in volumes; else boxes on slices."""
        return bool(self.recipe.get("input", {}).get("volume"))

    @property
    def tight(self) -> bool:
        """Whether its boxes lie about the voxels of what they hold; else they have DeepLesion's margin."""
        # Before recipes said so, bodies alone were tight.
        return self.volume or self.recipe.get("supervision", {}).get("boxes") == "tight"

    @property
    def operating_point(self) -> float | None:
        """Score from which on it gave two false positives a key slice, in thousandths; None if not measured."""
        scores = dict(zip(self.evaluation.get("fp_per_image", []), self.evaluation.get("scores", []), strict=False))
        score = scores.get(OPERATING_RATE)
        if score is None:
            return None
        if not 0 <= score <= 1:
            raise ValueError(f"a score of {score}")
        return max(math.floor(score * 1000), 1) / 1000

    @property
    def title(self) -> str:
        """What a person calls the method."""
        return str(self.recipe["method"]["title"])


def bundled_checkpoints() -> dict[str, Path]:
    """Checkpoints that come with the package, by name."""
    folder = Path(str(resources.files("napari_uld.sample_data"))) / "checkpoints"
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Path of a checkpoint given by a bundled one's name or by its own path.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    bundled = bundled_checkpoints()
    if str(name_or_path) in bundled:
        return bundled[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_file():
        names = ", ".join(bundled) or "none"
        raise CheckpointError(f"There is no checkpoint {name_or_path}: give a file, or a bundled one's name ({names})")
    return path


def read_info(path: Path) -> CheckpointInfo:
    """Read a checkpoint's description without its weights.

    Raises
    ------
    CheckpointError
        If the file is damaged, no checkpoint of ours, or of a newer version.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {_why(path)}") from error
    if FORMAT not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but no checkpoint written by `napari-uld train`")
    try:
        description = json.loads(metadata[FORMAT])
        version = int(description["version"])
        info = CheckpointInfo(path, None, description["recipe"], description["evaluation"], version)
        _ = info.name, info.title, info.operating_point
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its description is damaged; copy or train it again") from error
    if version > VERSION:
        raise CheckpointError(f"{path} has format version {version}; this program knows up to {VERSION}: update it")
    if version < OLDEST_VERSION:
        raise CheckpointError(f"{path} has format version {version}, older than {OLDEST_VERSION}: train it again")
    return info


def _why(path: Path) -> str:
    """Say why a file is no safetensors file, as far as its first bytes tell."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        return str(error.strerror or error)
    if not size:
        return "it is empty; copy it again"
    if start == b"version ":
        return "it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        return "it is a pickle of torch, which may run any code; required is a file written by `napari-uld train`"
    promised = int.from_bytes(start, "little") + 8
    if size < 8 or (size < promised < 1 << 27):
        return f"it is cut short at {size} bytes; copy it again"
    return "it is damaged or cut short, or was not written by `napari-uld train`; copy it again"
