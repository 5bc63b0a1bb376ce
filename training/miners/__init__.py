"""What a recipe mines while it trains, by the names that [mining] has for it (see `detectors.specs.mining`)."""

from .hard_negatives import HardNegativeMiner
from .miner import Miner

MINERS: dict[str, type[Miner]] = {"none": Miner, "hard_negatives": HardNegativeMiner}
