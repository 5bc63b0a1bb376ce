"""`napari-uld figure`: several systems' findings as a picture, of one lesion or of key slices."""

from pathlib import Path

from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.training.data.key_slices import true_slices

from .running import run

STUDY = Path(__file__).parents[2] / "sample_data" / "phantom"


def findings(path: Path, score: float, key_slice: int) -> Path:
    """A file with one finding in the sample study."""
    found = Findings.from_rows(
        scan_id="deeplesion:000001_01_01",
        scan_name="000001_01_01",
        method="vld",
        checkpoint="1",
        boxes=[[290, 300, 330, 340]],
        scores=[score],
        key_slices=[key_slice],
    )
    write_findings(path, found)
    return path


def test_it_writes_the_picture_and_says_in_a_sentence_what_there_is_none_of(tmp_path: Path) -> None:
    found, picture = findings(tmp_path / "found.findings.json", 0.8, 42), tmp_path / "figure.png"
    asked = (found, found, "--data", STUDY, "--series", "000001_01_01", "--out", picture)
    done = run("figure", *asked)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = run("figure", *asked, "--lesion", "nowhere")
    assert done.returncode == 1
    assert "has no lesion nowhere" in done.stderr


def test_it_draws_what_systems_are_sure_of_on_key_slices(tmp_path: Path) -> None:
    key_slice = true_slices(STUDY, "all")[0].number
    found, picture = findings(tmp_path / "found.findings.json", 0.95, key_slice), tmp_path / "figure.png"
    asked = ("figure", found, "--data", STUDY, "--split", "all", "--out", picture)
    done = run(*asked, "--above", 0.9)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    unsure = run(*asked, "--above", 0.99)
    assert unsure.returncode == 1
    assert "give a lower one" in unsure.stderr
    for options in ((), ("--above", 0.9, "--series", "000001_01_01")):
        assert run(*asked, *options).returncode == 2
