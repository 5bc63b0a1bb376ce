"""What a recipe mines while it trains."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PositiveInt, SerializeAsAny

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


# Schemas of [mining] by the name of their miner; `training/miners` has what they mine with.
MINERS: dict[str, type[MiningSpec]] = {"none": MiningSpec, "hard_negatives": HardNegativesSpec}


def _mining(value: Any) -> Any:
    """Read a table; one of before there were several miners has a switch instead of a name."""
    if not isinstance(value, dict):
        return value
    table = dict(value)
    switch = table.pop("hard_negatives", None)
    name = table.setdefault("miner", "hard_negatives" if switch else "none")
    if name not in MINERS:
        raise ValueError(f"there is no miner {name!r}: give one of {', '.join(MINERS)}")
    if switch is False:
        table = {"miner": name}
    return MINERS[name].model_validate(table)


Mining = Annotated[SerializeAsAny[MiningSpec], BeforeValidator(_mining)]
