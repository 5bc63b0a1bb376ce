"""The command line, called in this process: starting Python and importing torch takes longer than most commands."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from napari_uld.cli.app import main


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `napari-uld` with these arguments; give its exit status and what it printed."""
    command = ["napari-uld", *map(str, arguments)]
    out, error, status = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(error):
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
    return subprocess.CompletedProcess(command, status, out.getvalue(), error.getvalue())
