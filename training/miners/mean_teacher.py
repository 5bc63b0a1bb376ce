"""Mining while training: an average of the network's weights finds lesions that nobody annotated.

Bai and Xia, "An End-to-End Framework For Universal Lesion Detection With Missing Annotations". In each step the
teacher looks at the batch as it is. What it is sure of and what is no annotated lesion is taught beside the
annotated ones, or taught neither way, to the student, which sees the batch at other sizes. The teacher is kept.

The paper's range of ignored scores is [.9, 1): all from .9 on, since a score of 1 is one that was rounded.
"""

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from napari_uld.detectors.parts import POSITION, Detector, Target
from napari_uld.detectors.specs.mining import MeanTeacherSpec, MiningSpec
from napari_uld.detectors.targets import make_target
from napari_uld.errors import NoMaskError, TrainingError
from napari_uld.evaluation.overlaps import iobb, iou
from napari_uld.inference.device import mixed_precision
from napari_uld.lesions.boxes import RECIST_MARGIN, to_centres
from napari_uld.lesions.findings import LESION_LABEL
from napari_uld.masks import INSIDE
from napari_uld.masks.ellipse import ellipse_in_box
from napari_uld.progress import Work

from ..data.phantom.truth import FOLDER as TRUTH_FOLDER
from ..data.slab_dataset import SlabDataset
from ..data.true_boxes import TrueBoxes
from .miner import Miner, Training
from .tally import Tally

# Where nothing is mined the teacher is asked so seldom, for the log alone.
ASKED_EVERY = 10


class Found(NamedTuple):
    """The teacher's lesions on one image, best first: boxes (n, 4), edge-based, and scores (n,)."""

    boxes: np.ndarray
    scores: np.ndarray


class MeanTeacher(Miner):
    """The student is the run's network; the teacher is what is validated and kept.

    The log counts what would have been mined where the policy is to mine nothing, and during the warm-up.
    """

    spec: MeanTeacherSpec

    def __init__(self, spec: MiningSpec, run: Training) -> None:
        super().__init__(spec, run)
        if not isinstance(run.train_set, SlabDataset):
            raise TrainingError("A mean teacher mines key slices: input.volume must be false")
        self.train_set = run.train_set
        self.teacher = copy.deepcopy(run.model)
        self.teacher.predicts_maps = False
        self.teacher.eval()
        for weights in self.teacher.parameters():
            weights.requires_grad = False
        self.average = Average(self.teacher, run.model)
        if (run.data / TRUTH_FOLDER).is_dir():
            self.train_set.truth = TrueBoxes(run.data)
        self.tally = Tally()

    @property
    def kept(self) -> Detector:
        """The teacher."""
        return self.teacher

    def before_step(self, images: list[Tensor], targets: list[Target]) -> tuple[list[Tensor], list[Target]]:
        """Resize the batch for the student, its targets with what the teacher found."""
        known = _to_host([torch.cat([t["boxes"], t["labels"][:, None].to(t["boxes"])], dim=1) for t in targets])
        annotated = [rows[:, :4] for rows in known]
        true = _to_host([target["true_boxes"] for target in targets]) if "true_boxes" in targets[0] else None
        mined = [np.zeros((0, 4), np.float32) for _ in images]
        if self.spec.policy != "none" or self.run.step % ASKED_EVERY == 0:
            found = self._ask(images, targets)
            chosen = [choose(each, boxes, self.spec) for each, boxes in zip(found, annotated, strict=True)]
            would = [each.boxes[rows] for each, (rows, _) in zip(found, chosen, strict=True)]
            for number, (each, (_, fresh)) in enumerate(zip(found, chosen, strict=True)):
                truth = None if true is None else true[number]
                self.tally.add(each.scores, fresh, would[number], annotated[number], truth)
            if self.spec.policy != "none" and self.run.step >= self.spec.warmup_steps:
                mined = would
        factors = torch.empty(len(images)).uniform_(*self.spec.resize).tolist()
        pairs = [self._for_student(*each) for each in zip(images, targets, known, mined, factors, strict=True)]
        return [image for image, _ in pairs], [target for _, target in pairs]

    def after_step(self) -> None:
        """Draw the teacher's weights and buffers nearer to the student's."""
        self.average.update(momentum(self.run.step, self.spec.momentum))

    def after_epoch(self) -> Work[None]:
        """Log what was mined."""
        self.run.log(event="mining", epoch=self.run.epoch, **self.tally.row())
        self.tally = Tally()
        yield from ()

    def state(self) -> dict[str, Any]:
        """The teacher's weights."""
        return {"teacher": self.teacher.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up the teacher's weights."""
        self.teacher.load_state_dict(state["teacher"])

    def _ask(self, images: list[Tensor], targets: list[Target]) -> list[Found]:
        """What the teacher finds on the batch as it is."""
        thickness = torch.stack([target["thickness"] for target in targets])
        with torch.no_grad(), mixed_precision(images[0].device):
            detections = self.teacher(images, thickness=thickness)
        rows = _to_host(
            [torch.cat([d["boxes"], d["scores"][:, None], d["labels"][:, None]], dim=1).float() for d in detections]
        )
        return [Found(row[:, :4], row[:, 4]) for row in (row[row[:, 5] == LESION_LABEL] for row in rows)]

    def _for_student(
        self, image: Tensor, target: Target, known: np.ndarray, mined: np.ndarray, factor: float
    ) -> tuple[Tensor, Target]:
        """One image resized, and its target made for that size; `known` are its boxes and labels (n, 5)."""
        size = tuple(max(1, round(side * factor)) for side in image.shape[1:])
        # As much as it is resized in truth: sides are whole pixels.
        scale = np.tile([size[1] / image.shape[2], size[0] / image.shape[1]], 2).astype(np.float32)
        taught = mined if self.spec.policy == "add" else mined[:0]
        boxes = np.concatenate([known[:, :4], taught]) * scale
        labels = np.concatenate([known[:, 4], np.full(len(taught), LESION_LABEL)])
        supervision = self.run.recipe.supervision
        area = float(target["pixel_area"]) / float(scale[0] * scale[1]) if supervision.maps.names else 1.0
        made = make_target(boxes, labels, None, (size[0], size[1]), maps=supervision.maps, pixel_area=area)
        if self.spec.policy == "ignore" and len(mined):
            made["ignored"] = torch.from_numpy(mined * scale)
        made = {name: value.to(image.device, non_blocking=True) for name, value in made.items()}
        if "negatives" in target:
            made["negatives"] = target["negatives"] * torch.from_numpy(scale).to(image.device, non_blocking=True)
        if "masks" in target:
            margin = RECIST_MARGIN * float(target["scale"]) * float(np.sqrt(scale[0] * scale[1]))
            drawn = draw_masks(boxes[len(known) :], (size[0], size[1]), margin).to(image.device)
            made["masks"] = torch.cat([resize_masks(target["masks"], (size[0], size[1])), drawn])
        if size != tuple(image.shape[1:]):
            image = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
        return image, made | {name: target[name] for name in ("thickness", POSITION) if name in target}


def choose(found: Found, annotated: np.ndarray, spec: MeanTeacherSpec) -> tuple[np.ndarray, np.ndarray]:
    """Choose what is mined of an image ("GT NMS", then the threshold of the paper's section 2).

    Parameters
    ----------
    found
        The teacher's lesions.
    annotated
        (m, 4) edge-based boxes of the annotated lesions.

    Returns
    -------
    mined, fresh
        (k,) rows that are mined, best first; (n,) bool: which are no annotated lesion.
    """
    overlaps = {"iou": iou, "iobb": iobb}[spec.overlap_by](found.boxes, annotated)
    fresh = overlaps.max(axis=1, initial=0.0) <= spec.overlap
    rows = np.flatnonzero(fresh & (found.scores >= np.float32(spec.score)))
    return rows[: spec.per_image], fresh


def momentum(step: int, most: float) -> float:
    """How much of the teacher stays in a step: nothing in step 0, then more and more, up to `most`."""
    return min(most, 1 - 1 / (step + 1))


class Average:
    """Draws a network's weights and buffers nearer to another's; counters are copied.

    Parameters
    ----------
    teacher, student
        Of one build. Their tensors are looked up once: training, and taking up a stopped run, change them in place.
    """

    def __init__(self, teacher: Detector, student: Detector) -> None:
        own, other = teacher.state_dict(), student.state_dict()
        pairs = [(own[name], other[name]) for name in own]
        real = [pair for pair in pairs if pair[0].is_floating_point()]
        self.own, self.other = [pair[0] for pair in real], [pair[1] for pair in real]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    def update(self, stays: float) -> None:
        """Keep the share `stays` of the one, and take the rest of the other."""
        # All at once: on a GPU hundreds of small kernels would cost more than the step.
        get_ema_multi_avg_fn(stays)(self.own, self.other, None)
        for own, other in self.counters:
            own.copy_(other)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks of 0 and 1 (n, H, W) to (height, width)."""
    if not len(masks) or tuple(masks.shape[1:]) == size:
        return masks.new_zeros((len(masks), *size)) if not len(masks) else masks
    resized = F.interpolate(masks[:, None].float(), size=size, mode="bilinear", align_corners=False)
    return (resized[:, 0] >= INSIDE).to(masks.dtype)


def draw_masks(boxes: np.ndarray, size: tuple[int, int], margin: float) -> Tensor:
    """The ellipse in each edge-based box, uint8 (n, H, W); it stands in where nobody measured a lesion."""
    masks = np.zeros((len(boxes), *size), np.uint8)
    for mask, box in zip(masks, to_centres(boxes), strict=True):
        try:
            mask[:] = ellipse_in_box(box, size, margin=margin)
        except NoMaskError:  # of a box without an area: its mask stays empty
            continue
    return torch.from_numpy(masks)


def _to_host(tensors: Iterable[Tensor]) -> list[np.ndarray]:
    """Bring tensors (n, k) to the CPU in one transfer: each would have the GPU wait."""
    parts = list(tensors)
    joined = torch.cat(parts).cpu().numpy()
    return np.split(joined, np.cumsum([len(part) for part in parts])[:-1])
