"""What is installed is what is here."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DATA = {".toml", ".yaml", ".json", ".csv", ".png", ".safetensors", ".typed"}


def test_the_wheel_holds_every_module_and_data_file(tmp_path: Path) -> None:
    # Built from a copy: a build folder left in the tree would hide a package that is no longer listed.
    copy = tmp_path / "copy"
    for folder in ("napari_uld", "training", "sample_data"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
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
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)
    assert not any(name.startswith(("tests/", "training/", "sample_data/", "benchmarks/")) for name in held)


def test_the_constraints_hold_one_version_of_every_direct_dependency_that_pyproject_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {}
    for line in lines:
        if not line.startswith("#"):
            name, version = line.split("==")
            tested[canonicalize_name(name)] = version
    extras = sum(project["optional-dependencies"].values(), [])
    for requirement in map(Requirement, project["dependencies"] + extras):
        name = canonicalize_name(requirement.name)
        assert name in tested
        assert tested[name] in requirement.specifier, requirement


def test_the_citation_names_this_version_and_where_each_paper_is_found() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    titles = [paper["title"] for paper in citation["references"]]
    assert len(set(titles)) == 7
    for paper in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(paper)
        assert "doi" in paper or "url" in paper
