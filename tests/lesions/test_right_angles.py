import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.lesions.recist import Recist
from napari_uld.lesions.right_angles import long_first, square_to, with_end

SQUARE = (5.0, 1.0, 1.0)
# Pixels twice as high as wide: (z, y, x).
TALL = (5.0, 2.0, 1.0)
CROSS = Recist(((0.0, 0.0), (10.0, 0.0)), ((4.0, -2.0), (4.0, 3.0)))


def angle(recist: Recist, spacing: tuple[float, float, float]) -> float:
    p1, p2, p3, p4 = recist.points * (spacing[2], spacing[1])
    long, short = p2 - p1, p4 - p3
    return float(abs(long @ short) / (np.hypot(*long) * np.hypot(*short)))


def test_the_short_diameter_follows_the_mouse_at_a_right_angle() -> None:
    assert square_to(((0, 0), (10, 0)), (4, -2), (7, 3), SQUARE) == (4.0, 3.0)
    # Across (1, 1) runs (1, -1): of (4, 0) half goes along each.
    assert square_to(((0, 0), (8, 8)), (2, 2), (6, 2), SQUARE) == (4.0, 0.0)


def test_a_right_angle_is_one_in_millimetres() -> None:
    # In mm the line runs along (4, 4) and the mouse goes by (4, 0): it ends at (2, -2) mm, (2, -1) pixels.
    assert square_to(((0, 0), (4, 2)), (0, 0), (4, 0), TALL) == (2.0, -1.0)


def test_a_line_without_length_leaves_the_other_free() -> None:
    assert square_to(((1, 1), (1, 1)), (4, -2), (7, 3), SQUARE) == (7.0, 3.0)


def test_the_diameter_that_is_longer_in_millimetres_is_the_long_one() -> None:
    upright = Recist(((0.0, 0.0), (10.0, 0.0)), ((5.0, -3.0), (5.0, 3.0)))
    assert long_first(upright, SQUARE) == upright
    assert long_first(upright, TALL) == Recist(upright.short, upright.long)


def test_an_end_of_the_short_diameter_moves_across_the_long_one() -> None:
    assert with_end(CROSS, 3, (6.0, 5.0), SQUARE).short == ((4.0, -2.0), (4.0, 5.0))
    assert with_end(CROSS, 2, (6.0, -4.0), SQUARE).short == ((4.0, -4.0), (4.0, 3.0))
    assert with_end(CROSS, 3, (6.0, 5.0), SQUARE, free=True).short == ((4.0, -2.0), (6.0, 5.0))


def test_an_end_of_the_long_diameter_takes_the_short_one_along() -> None:
    # Turned by a right angle and twice as long: it is crossed at the same share of its length, as far to each side.
    turned = with_end(CROSS, 1, (0.0, 20.0), SQUARE)
    assert turned.long == ((0.0, 0.0), (0.0, 20.0))
    np.testing.assert_allclose(turned.short, ((2.0, 8.0), (-3.0, 8.0)))
    assert with_end(CROSS, 1, (0.0, 20.0), SQUARE, free=True).short == CROSS.short


@given(
    end=st.integers(0, 3),
    at=st.tuples(st.floats(20, 60), st.floats(20, 60)),
    spacing=st.sampled_from([SQUARE, TALL, (1.0, 0.7, 0.9)]),
)
def test_whichever_end_is_moved_the_diameters_stay_square(
    end: int, at: tuple[float, float], spacing: tuple[float, float, float]
) -> None:
    moved = with_end(CROSS, end, at, spacing)
    if min(moved.diameters) > 0.01 and end >= 2:
        assert angle(moved, spacing) == pytest.approx(0, abs=1e-6)
    elif end < 2:
        assert angle(moved, spacing) == pytest.approx(0, abs=1e-6)
        assert moved.millimetres(spacing)[1] == pytest.approx(CROSS.millimetres(spacing)[1])
