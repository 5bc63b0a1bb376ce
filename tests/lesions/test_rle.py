import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from napari_uld.errors import AnnotationError
from napari_uld.lesions.rle import Rle, decode, encode


@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)))
def test_a_mask_comes_back_from_its_run_lengths(mask: np.ndarray) -> None:
    rle = encode(mask)
    np.testing.assert_array_equal(decode(rle), mask)
    assert rle.shape == mask.shape
    assert all(count > 0 for count in rle.counts[1:])  # runs are as long as they can be


def test_runs_go_down_the_columns_and_begin_with_zeros_as_in_coco() -> None:
    mask = np.array([[0, 1, 1], [0, 0, 1]])
    # Columns: 00 | 10 | 11
    assert encode(mask) == Rle((2, 3), (2, 1, 1, 2))
    assert encode(1 - mask) == Rle((2, 3), (0, 2, 1, 1, 2))
    assert encode(np.zeros((2, 2))) == Rle((2, 2), (4,))
    assert encode(np.full((2, 2), 7)) == Rle((2, 2), (0, 4))


@pytest.mark.parametrize(("shape", "counts"), [((2, 2), (3,)), ((2, 2), (5, -1)), ((2, 2), ()), ((-1, -1), (1,))])
def test_run_lengths_that_do_not_fill_their_shape_are_refused(shape: tuple[int, int], counts: tuple[int, ...]) -> None:
    with pytest.raises(AnnotationError, match="Run lengths"):
        Rle(shape, counts)
