"""Take a picture of every panel at two sizes of the window in both themes, to be looked at before a release.

make rooms    # into runs/rooms
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
from napari.settings import get_settings
from npe2 import PluginManager

from napari_uld.viewer.plugin.demo import close_window, settle, show_best
from napari_uld.viewer.plugin.samples import own_copy
from napari_uld.viewer.state.settings import PLUGIN
from napari_uld.viewer.tools.workbench import workbench_of

SIZES = ((1280, 720), (1920, 1080))
THEMES = ("dark", "light")
# Stands below the canvas; all others share a place beside it.
BELOW = "Views"


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    manager = PluginManager.instance()
    manager.discover()
    widgets = manager.get_manifest(PLUGIN).contributions.widgets or []
    panels = [widget.display_name for widget in widgets]
    for theme in THEMES:
        get_settings().appearance.theme = theme
        take(out, SIZES[0], theme, panels, study=False)
        for size in SIZES:
            take(out, size, theme, panels)


def take(out: Path, size: tuple[int, int], theme: str, panels: list[str], *, study: bool = True) -> None:
    """Bring one panel after the other to the front in a window of this size, with the sample study or nothing open."""
    viewer = napari.Viewer(title="napari-uld")
    try:
        with TemporaryDirectory() as folder:
            viewer.window.resize(*size)
            session = workbench_of(viewer).session
            if study:
                viewer.open(own_copy(Path(folder)), plugin=PLUGIN)
            if session.case is not None:
                show_best(session, session.case)
            # The review opens with the scan; the views take room from all others and come last.
            for panel in sorted(panels, key=lambda name: name == BELOW):
                dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, panel, tabify=panel != BELOW)
                settle(0.5)
                dock.raise_()
                session.fit_body()
                settle(0.7)
                name = f"{size[0]}x{size[1]} {theme} {panel}{'' if study else ' empty'}.png".lower().replace(" ", "_")
                viewer.screenshot(str(out / name), canvas_only=False, flash=False)
                print(out / name, flush=True)
    finally:
        close_window(viewer)


if __name__ == "__main__":
    main()
