"""A lesion as several systems find it: what is chosen, and what is drawn of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from napari_uld.errors import DataError
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.progress import finish
from napari_uld.training.data.phantom.truth import read_truth
from napari_uld.training.reports import body_pictures
from napari_uld.training.reports.body_pictures import (
    BOX,
    CUTS,
    NEAR_MM,
    POINT,
    TRUE,
    Body,
    Scene,
    bodies_in,
    draw,
    draw_bodies,
    draw_slice,
    open_scene,
)

STUDY = Path(__file__).parents[3] / "sample_data" / "phantom"
SERIES = "000001_01_01"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return open_scene(STUDY, SERIES, None)


@pytest.fixture
def found(scene: Scene) -> Findings:
    """The lesion, found with its depth and four points; the same below the operating point, as no lesion, elsewhere."""
    x1, y1, first, x2, y2, last = scene.lesion.box
    points = np.array([[x1, y1, first], [x2, y2, first], [x1, y2, last], [x2, y1, last]])
    return Findings.from_rows(
        scan_id=scene.volume.scan_id,
        scan_name=scene.volume.name,
        method="vld",
        checkpoint="1",
        boxes=[[x1, y1, x2, y2]] * 3 + [[0, 0, 5, 5]],
        scores=[0.8, 0.29, 0.7, 0.9],
        key_slices=[scene.lesion.key_slice] * 4,
        negative=[False, False, True, False],
        slice_boxes=tuple(
            {int(native): box for native in scene.lesion.masks}
            for box in [(x1, y1, x2, y2)] * 3 + [(0.0, 0.0, 5.0, 5.0)]
        ),
        depths=[[first - 0.5, last + 0.5]] * 4,
        points=[points] * 4,
        operating_point=0.3,
    )


def colours_of_boxes(axes: Axes) -> list[str]:
    return [to_hex(patch.get_edgecolor()) for patch in axes.patches]


def points_on(axes: Axes) -> int:
    red = [
        each
        for each in axes.collections
        if len(each.get_facecolor()) and to_hex(each.get_facecolor()[0]) == POINT.lower()
    ]
    return sum(len(each.get_offsets()) for each in red)


def test_the_largest_lesion_is_shown_with_all_that_is_true_about_it(scene: Scene) -> None:
    lesions = read_truth(STUDY, SERIES)
    sizes = {each.id: sum(sum(mask.counts[1::2]) for mask in each.masks.values()) for each in lesions}
    assert sizes[scene.lesion.id] == max(sizes.values())
    assert scene.truth.shape == tuple(scene.high - scene.low + 1)
    assert scene.truth.sum() >= max(sizes.values())
    # The lesion's voxels lie where its slices do.
    for z in scene.cuts:
        assert scene.truth[z - scene.low[0]].any()
    assert len(scene.cuts) == len(CUTS)
    assert scene.cuts == sorted(scene.cuts)


def test_another_lesion_is_shown_by_its_id_and_one_that_is_not_there_is_refused() -> None:
    lesions = read_truth(STUDY, SERIES)
    for lesion in lesions[:2]:
        assert open_scene(STUDY, SERIES, lesion.id).lesion.id == lesion.id
    with pytest.raises(DataError, match=f"has no lesion nowhere; it has {lesions[0].id}"):
        open_scene(STUDY, SERIES, "nowhere")


def test_findings_there_from_the_operating_point_on_are_bodies_and_nothing_else_is(
    scene: Scene, found: Findings
) -> None:
    (body,) = bodies_in(found, scene)
    x1, y1, first, x2, y2, last = scene.lesion.box
    ends = sorted(scene.position[int(native)] for native in (first, last))
    assert body.score == 0.8
    assert body.box == pytest.approx([x1, y1, ends[0] - 0.5, x2, y2, ends[1] + 0.5])
    assert set(body.on_slices) == {scene.position[native] for native in scene.lesion.masks}
    assert set(body.points[:, 0]) == set(ends)
    assert body.points[0, 1:].tolist() == [y1, x1]


def test_what_a_detector_traced_through_slices_ends_half_a_slice_beyond_them_and_has_no_points(
    scene: Scene, found: Findings
) -> None:
    traced = replace(found, depths=None, points=(None,) * len(found))
    (body,) = bodies_in(traced, scene)
    on = sorted(body.on_slices)
    assert (body.box[2], body.box[5]) == (on[0] - 0.5, on[-1] + 0.5)
    assert len(body.points) == 0


def test_on_a_slice_boxes_that_reach_it_and_points_near_it_are_drawn_over_the_truth(scene: Scene) -> None:
    z = scene.cuts[1]
    near = NEAR_MM / scene.volume.spacing[0]
    points = np.array([[z, 10.0, 10], [z + 0.99 * near, 10, 12], [z - 1.01 * near, 10, 14]])
    here = Body(np.zeros(6), {z: (1.0, 2, 3, 4)}, points, 0.9)
    elsewhere = Body(np.zeros(6), {z + 1: (1.0, 2, 3, 4)}, np.zeros((0, 3)), 0.9)
    axes = Figure().subplots()
    draw_slice(axes, scene, [here, elsewhere], z, (-175, 275))
    assert colours_of_boxes(axes) == [BOX.lower()]
    assert axes.patches[0].get_bbox().extents.tolist() == [1, 2, 3, 4]
    assert points_on(axes) == 2
    assert any(to_hex(line) == TRUE.lower() for each in axes.collections for line in each.get_edgecolor())
    assert axes.get_xlabel() == f"slice {scene.volume.native_slice(z)}"


def test_each_system_has_a_column_in_3d_and_on_three_slices_from_the_head_to_the_feet(
    scene: Scene, found: Findings
) -> None:
    figure = draw(scene, {"a": bodies_in(found, scene), "b": []})
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["a: 0.80", "b: nothing"]
    assert [axes.name for axes in figure.axes] == ["3d", *["rectilinear"] * 3] * 2
    slices = [axes.get_xlabel() for axes in figure.axes if axes.name == "rectilinear"]
    assert slices == [f"slice {scene.volume.native_slice(z)}" for z in reversed(scene.cuts)] * 2


def test_saved_findings_become_the_same_picture_again_and_those_of_another_scan_are_refused(
    scene: Scene, found: Findings, tmp_path: Path
) -> None:
    folder = tmp_path / "found"
    folder.mkdir()
    write_findings(folder / "other.findings.json", replace(found, scan_id="9", scan_name="another"))
    picture = tmp_path / "figure.png"
    with pytest.raises(DataError, match=f"has nothing on {SERIES}, it is of another"):
        finish(draw_bodies([str(folder)], STUDY, SERIES, picture, None, "cpu"))
    write_findings(folder / "this.findings.json", found)
    made = []
    for _ in range(2):
        finish(draw_bodies([str(folder), str(folder / "this.findings.json")], STUDY, SERIES, picture, None, "cpu"))
        made.append(picture.read_bytes())
    assert made[0] == made[1]


def test_a_checkpoint_detects_on_the_scan(
    scene: Scene, found: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def detect(volume: object, detector: object) -> object:
        asked.append((getattr(volume, "name", None), detector))
        yield from ()
        return found

    monkeypatch.setattr(body_pictures, "load_checkpoint", lambda path, device: f"{path} on {device}")
    monkeypatch.setattr(body_pictures, "find_checkpoint", lambda name: name)
    monkeypatch.setattr(body_pictures, "detect", detect)
    finish(draw_bodies(["vld.safetensors"], STUDY, SERIES, tmp_path / "figure.png", None, "cpu"))
    assert asked == [(SERIES, "vld.safetensors on cpu")]
    assert (tmp_path / "figure.png").stat().st_size > 10_000
