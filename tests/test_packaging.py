"""What is installed is what is here."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = {".toml", ".yaml", ".json", ".csv", ".png", ".safetensors", ".typed"}


def test_the_wheel_holds_every_module_and_data_file(tmp_path: Path) -> None:
    # Built from a copy: a build folder left in the tree would hide a package that is no longer listed.
    copy = tmp_path / "copy"
    for folder in ("napari_uld", "training", "sample_data"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = set()
    for folder, prefix in (("napari_uld", ""), ("training", "napari_uld/"), ("sample_data", "napari_uld/")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and (path.suffix in DATA | {".py"}) and "__pycache__" not in path.parts:
                expected.add(prefix + path.relative_to(ROOT).as_posix())
    assert expected - held == set()
    assert not any(name.startswith(("tests/", "training/", "sample_data/", "benchmarks/")) for name in held)
