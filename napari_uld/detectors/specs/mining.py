"""What a recipe mines while it trains."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt, SerializeAsAny

from napari_uld.detectors.specs.base import FALSE_POSITIVE, Fraction, Spec
from napari_uld.detectors.specs.system import System


class MiningSpec(Spec):
    """Nothing is mined."""

    miner: str = "none"

    def check_fit(self, system: System) -> None:
        """Check that the system can learn from what is mined.

        Raises
        ------
        ValueError
            If it cannot: one sentence that says what was required.
        """
        if FALSE_POSITIVE in system.detector.classes:
            raise ValueError(f"the class {FALSE_POSITIVE!r} is for hard negatives, which this recipe does not mine")


class HardNegativesSpec(MiningSpec):
    """False positives, mined after each epoch (HNEM in the ULDor paper, section 2.2)."""

    miner: Literal["hard_negatives"] = "hard_negatives"
    # S2: a detection whose mask overlaps a lesion's by more found it. S1: where none did, those above it are mined.
    overlap: Fraction = 0.3
    score: Fraction = 0.7
    per_image: PositiveInt = 3

    def check_fit(self, system: System) -> None:
        """Check that there is a class for them, and masks to tell them by."""
        if FALSE_POSITIVE not in system.detector.classes:
            raise ValueError(f"hard negatives need the class {FALSE_POSITIVE!r}")
        if system.supervision.mask_kind is None:
            raise ValueError("hard negatives are told by their masks: roi_branch must be ellipse or grabcut")


class MeanTeacherSpec(MiningSpec):
    """Lesions that nobody annotated, mined in each step by an average of the network's weights: the teacher.

    Bai and Xia, "An End-to-End Framework For Universal Lesion Detection With Missing Annotations".
    """

    miner: Literal["mean_teacher", "mean_teacher_negatives"] = "mean_teacher"
    # What becomes of mined lesions: taught as lesions, taught neither way, or nothing is mined.
    policy: Literal["add", "ignore", "none"] = "add"
    # The least score of a mined lesion, behind the teacher's own suppression.
    score: Fraction = 0.9
    # A detection that overlaps an annotated lesion by more is that lesion: by IoU, or by its share of the detection.
    overlap: Fraction = 0.7
    overlap_by: Literal["iou", "iobb"] = "iou"
    # Of the teacher's weights, the most: it grows as 1 - 1 / (step + 1).
    momentum: Fraction = 0.999
    # The student sees images as many times as large, drawn evenly.
    resize: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.2)
    # Steps before anything is mined, and the most lesions of an image.
    warmup_steps: NonNegativeInt = 0
    per_image: PositiveInt | None = None

    def check_fit(self, system: System) -> None:
        """Check that there are slices to mine on, which may lack annotations."""
        super().check_fit(system)
        if system.input.volume:
            raise ValueError("a mean teacher mines key slices: input.volume must be false")
        if self.resize[0] > self.resize[1]:
            raise ValueError(f"resize must be (least, most); found {self.resize}")


class KnownNegativesSpec(MiningSpec):
    """Hard negatives of scans that count as fully annotated: the starting network's surest misses, one round of them.

    P- in Cai et al., "Lesion-Harvester".
    """

    miner: Literal["known_negatives", "mean_teacher_negatives"] = "known_negatives"
    # Share of the training patients whose truth is known.
    known: Fraction = 0.1
    # The least score of a miss, and the most on a slice.
    negative_score: Fraction = 0.7
    negatives_per_slice: PositiveInt = 3

    def check_fit(self, system: System) -> None:
        """Check that it can learn them."""
        super().check_fit(system)
        if not system.supervision.takes_negatives:
            raise ValueError(
                "hard negatives are sampled first, and a dense head samples none: take two stages or a head of centres"
            )
        if system.input.volume:
            raise ValueError("hard negatives are mined slice by slice: input.volume must be false")


class MeanTeacherNegativesSpec(MeanTeacherSpec, KnownNegativesSpec):
    """A mean teacher beside them."""

    miner: Literal["mean_teacher_negatives"] = "mean_teacher_negatives"


class MinerEntry(NamedTuple):
    """What a miner is.

    Parameters
    ----------
    spec
        The schema of a recipe's [mining].
    miner
        Its class (see `training/miners/miner.py`), or its name, "module:class": reading a recipe needs no training.
    """

    spec: type[MiningSpec]
    miner: type | str


MINERS: dict[str, MinerEntry] = {
    "none": MinerEntry(MiningSpec, "napari_uld.training.miners.miner:Miner"),
    "hard_negatives": MinerEntry(HardNegativesSpec, "napari_uld.training.miners.hard_negatives:HardNegativeMiner"),
    "mean_teacher": MinerEntry(MeanTeacherSpec, "napari_uld.training.miners.mean_teacher:MeanTeacher"),
    "known_negatives": MinerEntry(KnownNegativesSpec, "napari_uld.training.miners.known_negatives:KnownNegatives"),
    "mean_teacher_negatives": MinerEntry(
        MeanTeacherNegativesSpec, "napari_uld.training.miners.known_negatives:MeanTeacherWithNegatives"
    ),
}


def _mining(value: Any) -> Any:
    """Read a table; one of before there were several miners has a switch instead of a name."""
    if not isinstance(value, dict):
        return value
    table = dict(value)
    switch = table.pop("hard_negatives", None)
    if switch is not None:
        said = "hard_negatives" if switch else "none"
        if table.setdefault("miner", said) != said:
            raise ValueError(f"hard_negatives = {str(switch).lower()} contradicts miner = {table['miner']!r}")
        # It was told what to mine by even where it mined nothing.
        table = table if switch else {"miner": "none"}
    name = table.setdefault("miner", "none")
    if not isinstance(name, str) or name not in MINERS:
        raise ValueError(f"there is no miner {name!r}: give one of {', '.join(MINERS)}")
    return MINERS[name].spec.model_validate(table)


Mining = Annotated[SerializeAsAny[MiningSpec], BeforeValidator(_mining)]
