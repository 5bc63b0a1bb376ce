"""A deterministic generator of CT-like studies with lesions, written as DeepLesion is.

``generate_phantoms`` writes them, ``read_truth`` gives back every lesion that is really there. What a seed
makes is frozen under ``GENERATOR_VERSION``.
"""

from .truth import TrueLesion, read_truth, truth_series
from .write import GENERATOR_VERSION, generate_phantoms

__all__ = ["GENERATOR_VERSION", "TrueLesion", "generate_phantoms", "read_truth", "truth_series"]
