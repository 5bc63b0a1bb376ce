"""COCO's average precision against faster-coco-eval, which counts as pycocotools does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.evaluation.coco import MOST, coco_ap
from napari_uld.evaluation.overlaps import iou

peer = pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval: pip install -e '.[dev]'")
Image = tuple[list[float], list[list[float]], list[list[float]]]


def peers_ap(images: list[Image]) -> tuple[float, float, float]:
    """AP, AP50 and AP75 of images of (scores, detected boxes, true boxes)."""
    boxes = [(number, box) for number, (_, _, truth) in enumerate(images, 1) for box in truth]
    truth = peer.COCO(
        {
            "images": [{"id": number, "width": 512, "height": 512} for number in range(1, len(images) + 1)],
            "categories": [{"id": 1, "name": "lesion"}],
            "annotations": [
                {"id": row, "image_id": n, "category_id": 1, "iscrowd": 0, "area": area(b), "bbox": sides(b)}
                for row, (n, b) in enumerate(boxes, 1)
            ],
        }
    )
    found = [
        {"image_id": number, "category_id": 1, "bbox": sides(box), "score": score}
        for number, (scores, detected, _) in enumerate(images, 1)
        for score, box in zip(scores, detected, strict=True)
    ]
    judge = peer.COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=lambda *_: None)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return tuple(judge.stats[:3])


def ours(images: list[Image]) -> tuple[float, float, float]:
    overlaps = [iou(rows(detected), rows(truth)) for _, detected, truth in images]
    reached = coco_ap(overlaps, [np.asarray(scores, float) for scores, _, _ in images])
    return reached.ap, reached.ap50, reached.ap75


def rows(boxes: list[list[float]]) -> np.ndarray:
    return np.asarray(boxes, float).reshape(-1, 4)


def sides(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_average_precision_is_the_peers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images: list[Image] = []
    for number in range(rng.integers(1, 8)):
        # A lesion at least, and a detection in the first image, for the peer counts nothing otherwise.
        low = rng.uniform(0, 60, (rng.integers(number == 0, 4), 2))
        truth = np.concatenate([low, low + rng.uniform(5, 30, low.shape)], axis=1)
        near = np.repeat(truth, 2, axis=0) + rng.normal(0, 2, (2 * len(truth), 4))
        far = rng.uniform(0, 60, (3, 2))
        detected = np.concatenate([near, np.concatenate([far, far + 12], axis=1)])
        detected = np.concatenate(
            [np.minimum(detected[:, :2], detected[:, 2:]), detected.max(axis=1)[:, None] * [1, 1]], 1
        )
        images.append((rng.permutation(len(detected)).astype(float).tolist(), detected.tolist(), truth.tolist()))
    # Distinct scores: of equal ones the peer and pycocotools take different orders over images.
    images = [([s + number / 100 for s in scores], d, t) for number, (scores, d, t) in enumerate(images)]
    assert ours(images) == pytest.approx(peers_ap(images), abs=1e-9)


def test_of_an_image_only_the_surest_hundred_count_as_for_the_peer() -> None:
    elsewhere = [[300.0 + n, 300.0, 310.0 + n, 310.0] for n in range(MOST)]
    box = [10.0, 10.0, 30.0, 30.0]
    image = [1.0] + [2.0 + n for n in range(MOST)], [box, *elsewhere], [box]
    assert ours([image]) == peers_ap([image]) == (0, 0, 0)
