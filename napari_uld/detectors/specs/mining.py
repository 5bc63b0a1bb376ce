"""What a recipe mines while it trains."""

from typing import Annotated, Any, Literal, NamedTuple

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
