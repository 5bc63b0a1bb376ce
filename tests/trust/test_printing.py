"""Results are kept first and printed then: no name, console, pipe or target loses them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer

import napari_uld.ct
from napari_uld.cli.common import ClosedPipeError, console, fillable, follow, print_table, say, visible, writable
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AmbiguousScanError
from napari_uld.lesions.findings_file import read_findings
from napari_uld.progress import Progress, Work
from napari_uld.training.reports import description

from ..cli.running import run

FOREIGN = ("Thorax [/5mm] venous", "Abd 5.0 [i30f] ven", "[bold]x[/bold]", "a [", "[link=x]y", ":warning: 50% {0} {x}")


def scan(name: str, corrections: tuple[str, ...] = ()) -> CTVolume:
    hu = np.full((5, 48, 48), -1000, np.int16)
    hu[:, 8:40, 8:40] = 40
    numbers = np.arange(5)
    made = CTVolume(hu=hu, spacing=(5.0, 0.8, 0.8), source=Path("x"), name=name, slice_numbers=numbers, series_uid="1")
    return replace(made, corrections=corrections)


@pytest.fixture
def detect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `detect` on a scan of this name."""

    def of(name: str, *corrections: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        monkeypatch.setattr(napari_uld.ct, "read_scan", lambda *_: scan(name, corrections))
        out = tmp_path / "f.findings.json"
        return run("detect", "x", "--checkpoint", "faster_rcnn", "--device", "cpu", "--json", out), out

    return of


@pytest.mark.trains
@pytest.mark.parametrize("name", FOREIGN[:1])
def test_a_scans_name_is_printed_as_it_is(detect, name: str) -> None:
    done, out = detect(name, f"read {name}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"read {name}")
    assert f"{name}: " in done.stdout
    assert read_findings(out).scan_name == name


@pytest.mark.trains
def test_a_name_that_is_no_unicode_is_kept_with_a_mark_in_its_place(detect) -> None:
    done, out = detect("Th\udce4r\ud800x")
    assert done.returncode == 0, done.stderr
    assert read_findings(out).scan_name == "Th\ufffdr\ufffdx"


@pytest.mark.trains
def test_findings_are_kept_before_a_word_is_printed(detect, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise ClosedPipeError("nobody reads")

    monkeypatch.setattr(console, "print", closed)
    done, out = detect("a", "corrected")
    assert done.returncode == 1
    assert done.stderr == "napari-uld: nobody reads\n"
    assert read_findings(out).scan_name == "a"


@pytest.mark.parametrize("name", FOREIGN)
def test_tables_lines_and_progress_print_foreign_text_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> Work[int]:
        yield Progress(1, 2, name)
        return 5

    assert follow(work()) == 5
    say(name, "yellow")
    print_table(name, [{"name": name}])
    print_table(name, [])
    assert capsys.readouterr().out.count(name) == 4


def test_a_table_of_ten_columns_keeps_its_numbers_on_80_letters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    columns = {f"{rate / 4:g}": f"0.{rate:03d}" for rate in range(1, 9)}
    print_table("by type", [{"": "mediastinum (1)", **columns, "average": "0.999"}])
    printed = capsys.readouterr().out
    assert all(number in printed for number in (*columns, *columns.values(), "average", "0.999"))


def test_a_progress_bar_on_a_terminal_takes_foreign_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> Work[int]:
        yield Progress(1, 2, "Thorax [/5mm]")
        return 5

    monkeypatch.setattr(console, "_force_terminal", True)
    assert follow(work()) == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[31mred", r"\x1b[31mred"), ("a\u202eb", r"a\u202eb"), ("\udcff", r"\udcff"), ("ä\r\b", r"ä\r\x08")],
)
def test_what_would_steer_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def command(arguments: str, out: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" -m napari_uld.cli {arguments} {out}'
    full = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=full)


@pytest.mark.parametrize("out", ["| true", "> /dev/full", ">&-"])
def test_an_output_that_nobody_takes_loses_no_file(tmp_path: Path, out: str) -> None:
    done = command(f"recipes --json {tmp_path / 'r.json'}", out)
    assert len(json.loads((tmp_path / "r.json").read_text())) > 5
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_console_without_the_letters_spells_them_out(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[method]\nname = "x"\ntitle = "Größe ≥ 3"\npaper = "ours"\n', encoding="utf-8")
    done = command(f'info "{recipe}" --small --json {tmp_path / "i.json"}', "", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "Gr" in done.stdout
    assert json.loads((tmp_path / "i.json").read_text())["title"].startswith("Größe ≥ 3")


def test_targets_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for path, why in ((tmp_path / "folder", "is a folder"), (tmp_path / "no" / "x", "does not exist")):
        with pytest.raises(typer.BadParameter, match=why):
            writable(path)
    with pytest.raises(typer.BadParameter, match="is no file that can be replaced"):
        writable(Path(os.devnull))
    with pytest.raises(typer.BadParameter, match="is a file: give the name of a folder"):
        fillable(tmp_path / "file" / "run")
    assert writable(tmp_path / "new") == tmp_path / "new"
    assert writable(tmp_path / "file") == tmp_path / "file"
    assert fillable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"], "nothing was made by looking"


def test_a_folder_that_takes_no_file_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_uld.cli.common.tempfile", SimpleNamespace(TemporaryFile=full))
    for check in (writable, fillable):
        with pytest.raises(typer.BadParameter, match="No space left on device"):
            check(tmp_path / "x")


def test_a_file_that_may_not_be_written_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("mine")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(typer.BadParameter, match="may not be written to"):
        writable(tmp_path / "x")


@pytest.mark.parametrize("option", ["--json"])
def test_a_folder_with_brackets_in_its_name_is_named_as_it_is(option: str) -> None:
    done = run("recipes", option, "/no/such[/b]/x.json")
    assert done.returncode == 2


def test_a_full_disk_leaves_the_result_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i.json"
    assert run("recipes", "--json", path).returncode == 0
    before = path.read_bytes()
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        real(self, data[:10])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run("recipes", "--json", path)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_several_scans_name_the_option_that_chooses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def several(*_: object) -> None:
        raise AmbiguousScanError("x holds 2 scans: a, b; choose one by its name")

    monkeypatch.setattr(napari_uld.ct, "read_scan", several)
    done = run("detect", "x", "--checkpoint", "faster_rcnn", "--device", "cpu")
    assert "--series NAME" in done.stderr


def test_an_error_of_several_lines_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(*_: object) -> None:
        raise OSError("first\nsecond \x1b[2J[/x]")

    monkeypatch.setattr(description, "describe", bad)
    done = run("info", "x")
    assert done.stderr == "napari-uld: first second \\x1b[2J[/x]\n"
