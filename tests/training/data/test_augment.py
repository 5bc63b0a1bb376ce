"""Random flips and affine maps: images, boxes and masks move together."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.detectors.specs.two_stage import TwoStageSupervision
from napari_uld.training.data.augment import Affine, Augmentation, Exposure, draw, move_boxes, slices_away
from napari_uld.training.data.key_slices import annotated_slices
from napari_uld.training.data.slab_dataset import SlabDataset

# The most that the paper's recipes ask for.
PAPER = TrainingSpec(
    horizontal_flip=0.5, vertical_flip=0.5, rotation=0.1, shear=0.1, scale=0.1, translation=0.1, batch=4
)
SHAPE = (60, 80)
FILL = -50.0

# Interpolation may be as coarse as 1/32 pixel.
FINE = 1 / 32


def pixel_centres(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of every pixel's centre, pixel i covering [i, i + 1]."""
    y, x = np.indices(shape) + 0.5
    return x, y


def ellipse(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) of the ellipse inscribed in a box."""
    x, y = pixel_centres(shape)
    (cx, cy), (w, h) = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return ((((x - cx) / w) ** 2 + ((y - cy) / h) ** 2) <= 0.25).astype(np.uint8)


def extents(mask: np.ndarray) -> list[int]:
    """Edges (x1, y1, x2, y2) of a mask."""
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def centre_of_mass(image: np.ndarray) -> tuple[float, float]:
    """(x, y) of an image's mass; the pixels' centres count."""
    x, y = pixel_centres(image.shape)
    return float((x * image).sum() / image.sum()), float((y * image).sum() / image.sum())


def up_to(limit: float) -> st.SearchStrategy[float]:
    return st.floats(-limit, limit)


affines = st.builds(
    Affine,
    rotation=up_to(0.1),
    shear=st.tuples(up_to(0.1), up_to(0.1)),
    scale=st.tuples(st.floats(0.9, 1.1), st.floats(0.9, 1.1)),
    translation=st.tuples(up_to(0.1), up_to(0.1)),
)
augmentations = st.builds(Augmentation, st.booleans(), st.booleans(), affines)


@given(
    augmentations,
    st.tuples(st.floats(50, 70), st.floats(50, 70), st.floats(10, 36), st.floats(10, 36)),
)
def test_an_augmented_box_is_the_box_of_the_augmented_ellipse(
    augmentation: Augmentation, placed: tuple[float, float, float, float]
) -> None:
    x, y, width, height = placed
    box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    mask = ellipse(box, (120, 120))
    _, boxes, masks, kept = augmentation.apply(np.zeros((1, 120, 120), np.float32), box[None], mask[None], FILL)
    assert kept.tolist() == [True]
    assert masks is not None
    assert extents(masks[0]) == pytest.approx(boxes[0].tolist(), abs=1.2)


@given(augmentations, st.integers(24, 56), st.integers(20, 40))
def test_an_impulse_goes_where_the_centre_of_its_pixels_box_goes(augmentation: Augmentation, x: int, y: int) -> None:
    image = np.zeros((1, *SHAPE), np.float32)
    image[0, y, x] = 1
    box = np.array([[x, y, x + 1, y + 1]], dtype=np.float64)
    moved, boxes, _, _ = augmentation.apply(image, box, None, 0.0)
    expected = (boxes[0, :2] + boxes[0, 2:]) / 2
    # An impulse is seen through a linear kernel: its mass lies within half a pixel of it.
    assert centre_of_mass(moved[0]) == pytest.approx(expected.tolist(), abs=0.5)


@pytest.mark.parametrize(
    ("augmentation", "place"),
    [
        (Augmentation(horizontal=True), (65, 11)),
        (Augmentation(vertical=True), (14, 48)),
        (Augmentation(horizontal=True, vertical=True), (65, 48)),
        (Augmentation(affine=Affine(translation=(0.1, 0))), (22, 11)),
        (Augmentation(affine=Affine(translation=(0, -0.1))), (14, 5)),
        # Centre of the image at (40, 30): the pixel's centre (14.5, 11.5) is 25.5 left and 18.5 above it.
        (Augmentation(affine=Affine(rotation=np.pi)), (65, 48)),
        (Augmentation(affine=Affine(scale=(-1, 1))), (65, 11)),
        (Augmentation(horizontal=True, affine=Affine(translation=(0.1, 0.1))), (73, 17)),
    ],
)
def test_an_impulse_that_lands_on_a_pixel_is_that_pixel(augmentation: Augmentation, place: tuple[int, int]) -> None:
    image = np.zeros((2, *SHAPE), np.float32)
    image[:, 11, 14] = 1
    box = np.array([[14.0, 11, 15, 12]])
    moved, boxes, masks, _ = augmentation.apply(image, box, image[:1].astype(np.uint8), 0.0)
    x, y = place
    expected = np.zeros_like(image)
    expected[:, y, x] = 1
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_allclose(boxes, [[x, y, x + 1, y + 1]], atol=1e-9)
    np.testing.assert_array_equal(masks, expected[:1])


def test_a_scaled_ramp_is_what_the_map_says_it_is_at_every_pixel() -> None:
    x, _ = pixel_centres(SHAPE)
    affine = Affine(scale=(1.1, 1.0), translation=(0.05, 0.0))
    moved, *_ = Augmentation(affine=affine).apply(x[None].astype(np.float32), np.zeros((0, 4)), None, 0.0)
    # x' = 40 + 4 + 1.1 (x - 40), so x = 40 + (x' - 44) / 1.1; the leftmost columns come from outside.
    expected = 40 + (x - 44) / 1.1
    np.testing.assert_allclose(moved[0][:, 2:], expected[:, 2:], atol=FINE)


def test_a_turned_and_sheared_ramp_is_what_the_map_says_it_is() -> None:
    x, y = pixel_centres(SHAPE)
    affine = Affine(rotation=0.1, shear=(0.05, -0.08), scale=(0.95, 1.05), translation=(0.02, -0.03))
    ramps = np.stack([x, y]).astype(np.float32)
    moved, *_ = Augmentation(affine=affine).apply(ramps, np.zeros((0, 4)), None, FILL)
    # Where the ramps read (x, y), the map has brought (x, y) from there.
    matrix = affine.matrix(SHAPE)
    back = np.einsum("ij,jhw->ihw", matrix[:, :2], moved) + matrix[:, 2, None, None]
    inner = (slice(None), slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(back[inner], np.stack([x, y])[inner], atol=2 * FINE)


def test_a_turn_goes_from_x_to_y_and_a_shear_leans_along_its_axis() -> None:
    np.testing.assert_allclose(Affine(rotation=np.pi / 2).linear @ [1, 0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(Affine(shear=(0.1, 0)).linear @ [0, 1], [np.tan(0.1), 1])
    np.testing.assert_allclose(Affine(shear=(0, 0.1)).linear @ [1, 0], [1, np.tan(0.1)])
    np.testing.assert_allclose(Affine(scale=(2, 3)).linear @ [1, 1], [2, 3])


def test_a_square_box_does_not_grow_when_it_is_turned() -> None:
    turned = move_boxes(np.array([[30.0, 20, 50, 40]]), Affine(rotation=0.1).matrix(SHAPE))
    np.testing.assert_allclose(turned, [[30, 20, 50, 40]])


def test_a_flat_box_takes_the_extents_of_its_turned_ellipse() -> None:
    # 40 by 10 about the centre, turned by 30 degrees: sqrt((20 cos)^2 + (5 sin)^2) and sqrt((20 sin)^2 + (5 cos)^2).
    turned = move_boxes(np.array([[20.0, 25, 60, 35]]), Affine(rotation=np.pi / 6).matrix(SHAPE))
    half_width, half_height = np.sqrt(300 + 6.25), np.sqrt(100 + 18.75)
    expected = [[40 - half_width, 30 - half_height, 40 + half_width, 30 + half_height]]
    np.testing.assert_allclose(turned, expected)


@pytest.mark.parametrize("slices", [1, 3, 9])
def test_parameters_that_change_nothing_change_nothing(slices: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(slices, *SHAPE)).astype(np.float32)
    boxes = np.array([[10.0, 12, 30.5, 28], [-4, 3, 6, 20]])
    masks = np.stack([ellipse(box, SHAPE) for box in boxes])
    for augmentation in (Augmentation(), Augmentation(affine=Affine())):
        same = augmentation.apply(image, boxes, masks, FILL)
        np.testing.assert_array_equal(same[0], image)
        np.testing.assert_allclose(same[1], boxes, atol=1e-12)
        np.testing.assert_array_equal(same[2], masks)
        assert same[3].all()


def test_what_comes_in_from_outside_is_the_fill() -> None:
    image = np.ones((9, *SHAPE), np.float32)
    moved, *_ = Augmentation(affine=Affine(translation=(0.1, 0))).apply(image, np.zeros((0, 4)), None, FILL)
    assert (moved[:, :, :8] == FILL).all()
    assert (moved[:, :, 8:] == 1).all()


def test_a_lesion_whose_centre_leaves_the_image_goes_with_its_mask() -> None:
    boxes = np.array([[70.0, 20, 78, 30], [30, 20, 40, 30], [60, 20, 78, 30]])
    masks = np.stack([ellipse(box, SHAPE) for box in boxes])
    image = np.zeros((1, *SHAPE), np.float32)
    _, moved, moved_masks, kept = Augmentation(affine=Affine(translation=(0.1, 0))).apply(image, boxes, masks, FILL)
    # Moved by 8: centres at 82, 43 and 77 of 80.
    assert kept.tolist() == [False, True, True]
    np.testing.assert_allclose(moved, [[38, 20, 48, 30], [68, 20, 86, 30]])
    assert moved_masks is not None
    np.testing.assert_array_equal(moved_masks[:, :, 8:], masks[1:, :, :-8])


def test_flips_alone_keep_a_lesion_whose_centre_is_outside() -> None:
    boxes = np.array([[70.0, 20, 98, 30]])
    _, flipped, _, kept = Augmentation(horizontal=True).apply(np.zeros((1, *SHAPE), np.float32), boxes, None, FILL)
    assert flipped.tolist() == [[-18, 20, 10, 30]]
    assert kept.all()


def test_an_affine_map_is_drawn_within_its_limits_on_both_axes_by_itself() -> None:
    drawn = [draw(PAPER, np.random.default_rng(seed)).affine for seed in range(400)]
    values = np.array([[a.rotation, *a.shear, *np.subtract(a.scale, 1), *a.translation] for a in drawn if a])
    assert values.shape == (400, 7)
    assert np.abs(values).max() <= 0.1
    assert (values.min(axis=0) < -0.09).all()
    assert (values.max(axis=0) > 0.09).all()
    assert np.abs(np.corrcoef(values.T) - np.eye(7)).max() < 0.25


def test_a_limit_of_0_leaves_its_part_out() -> None:
    affine = draw(TrainingSpec(scale=0.2), np.random.default_rng(0)).affine
    assert affine is not None
    assert (affine.rotation, affine.shear, affine.translation) == (0, (0, 0), (0, 0))
    assert affine.scale[0] != affine.scale[1]


def test_flips_are_drawn_before_the_affine_map_and_stay_what_they_were_without_one() -> None:
    flips = TrainingSpec(horizontal_flip=0.5, vertical_flip=0.5)
    for seed in range(50):
        plain, more = (draw(spec, np.random.default_rng([seed, 1, 2])) for spec in (flips, PAPER))
        expected = np.random.default_rng([seed, 1, 2]).random(2) < 0.5
        assert [plain.horizontal, plain.vertical] == [more.horizontal, more.vertical] == expected.tolist()
        assert plain.affine is None
        assert more.affine is not None


def test_a_data_set_tells_what_it_drew_and_draws_it_again(phantoms: Path) -> None:
    keys = annotated_slices(phantoms, "all")[:2]
    supervision = TwoStageSupervision(roi_branch="ellipse")
    one, other = (SlabDataset(phantoms, keys, InputSpec(), supervision, training=PAPER, seed=5) for _ in range(2))
    plain, expected = SlabDataset(phantoms, keys, InputSpec(), supervision)[1]
    one.epoch = other.epoch = 3
    (image, target), (again, same) = one[1], other[1]
    assert (image == again).all()
    assert all((target[name] == same[name]).all() for name in target)
    assert one.drawn(3, 1) == other.drawn(3, 1) != one.drawn(4, 1)
    replayed, boxes, masks, kept = one.drawn(3, 1).apply(
        plain.numpy(), expected["boxes"].numpy().astype(float), expected["masks"].numpy(), -InputSpec().mean
    )
    np.testing.assert_array_equal(replayed, image.numpy())
    np.testing.assert_array_equal(masks, target["masks"].numpy())
    np.testing.assert_allclose(boxes, target["boxes"].numpy(), atol=1e-3)
    assert kept.all()


def test_a_lesion_moved_out_leaves_an_image_without_lesions(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervision = TwoStageSupervision(objectness="bmc", regression="bmc", roi_branch="ellipse")
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:1], InputSpec(), supervision)
    monkeypatch.setattr(dataset, "drawn", lambda *_: Augmentation(affine=Affine(translation=(1.0, 0.0))))
    image, target = dataset[0]
    assert (image == -InputSpec().mean).all()
    assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"]) == len(target["lesion_bms"]) == 0
    assert target["masks"].shape[1:] == image.shape[1:]


def test_what_recipes_draw_later_leaves_what_they_drew_before_as_it_was() -> None:
    more = PAPER.model_copy(update={"noise_hu": 20.0, "window_shift": 0.1, "z_shift": 0.5})
    plain, other = (draw(spec, np.random.default_rng(7)) for spec in (PAPER, more))
    assert plain.affine == other.affine
    assert (plain.exposure, plain.along_z) == (None, 0.0)
    assert other.exposure is not None
    assert other.along_z != 0


def test_noise_and_a_moved_window_change_how_hu_are_shown_and_nothing_else() -> None:
    inputs = InputSpec(window=(-100.0, 300.0), more_windows=((0.0, 1000.0),), value_range=1.0, mean=0.0)
    hu = np.full((3, 40, 50), 100.0, np.float32)
    moved = Exposure(noise_hu=0.0, shift=(-0.25, 0.25), seed=0).normalize(hu, inputs)
    # The windows are -200 to 400, and -250 to 1250.
    assert moved.shape == (6, 40, 50)
    assert moved[:3] == pytest.approx(300 / 600)
    assert moved[3:] == pytest.approx(350 / 1500)
    noisy, again = (Exposure(noise_hu=10.0, shift=(0.0, 0.0), seed=3).normalize(hu, inputs) for _ in range(2))
    assert (noisy == again).all()
    assert noisy[:3].mean() == pytest.approx(0.5, abs=0.01)
    assert noisy[:3].std() == pytest.approx(10 / 400, rel=0.1)
    assert hu.std() == 0


def test_exposures_are_drawn_within_their_limits() -> None:
    spec = TrainingSpec(noise_hu=20.0, window_shift=0.1)
    drawn = [exposure for seed in range(200) if (exposure := draw(spec, np.random.default_rng(seed)).exposure)]
    noise = np.array([each.noise_hu for each in drawn])
    shifts = np.array([each.shift for each in drawn])
    assert 0 <= noise.min() < 1
    assert 19 < noise.max() <= 20
    assert 0.09 < np.abs(shifts).max() <= 0.1
    assert len({each.seed for each in drawn}) == 200


def test_images_lie_off_the_key_slice_the_seldomer_the_farther() -> None:
    drawn = np.array([slices_away(float(u), 2) for u in np.linspace(-1, 1, 60_001)])
    # 3 : 2 : 1 on either side.
    shares = [np.mean(np.abs(drawn) == away) for away in (0, 1, 2)]
    assert shares == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=1e-3)
    assert (drawn == 1).sum() == pytest.approx((drawn == -1).sum(), abs=2)
    assert slices_away(0.999, 0) == 0
