"""What a phantom is made of: materials, their HU in every contrast phase and their texture."""

from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np


class Material(IntEnum):
    """Labels of the canvas."""

    AIR = 0
    SKIN = auto()
    FAT = auto()
    MUSCLE = auto()
    FAT_PLANE = auto()
    CORTEX = auto()
    MARROW = auto()
    DISC = auto()
    CORD = auto()
    CANAL = auto()
    CARTILAGE = auto()
    LUNG = auto()
    LUNG_VESSEL = auto()
    AIRWAY = auto()
    AIRWAY_WALL = auto()
    MEDIASTINAL_FAT = auto()
    HEART_WALL = auto()
    ARTERY = auto()
    VEIN = auto()
    OESOPHAGUS = auto()
    LIVER = auto()
    LIVER_VESSEL = auto()
    GALLBLADDER = auto()
    SPLEEN = auto()
    PANCREAS = auto()
    STOMACH_WALL = auto()
    FLUID = auto()
    GAS = auto()
    BOWEL_WALL = auto()
    CHYME = auto()
    ORAL_CONTRAST = auto()
    STOOL = auto()
    KIDNEY_CORTEX = auto()
    KIDNEY_MEDULLA = auto()
    KIDNEY_SINUS = auto()
    ABDOMINAL_FAT = auto()
    MESENTERIC_VESSEL = auto()
    BLADDER = auto()
    UTERUS = auto()
    PELVIC_FAT = auto()
    PELVIC_VESSEL = auto()
    TABLE = auto()
    TABLE_CORE = auto()


# Phases in the order in which they are written: portal venous, arterial, unenhanced, delayed.
PHASES = ("portal venous", "arterial", "unenhanced", "delayed")

# How much each kind of tissue takes up in each phase, HU.
_UPTAKE = {
    "none": (0, 0, 0, 0),
    "artery": (115, 230, 0, 75),
    "vein": (115, 45, 0, 78),
    "soft": (22, 12, 0, 20),
    "gut": (45, 45, 0, 30),
    "liver": (50, 14, 0, 32),
    "spleen": (65, 85, 0, 42),
    "cortex": (140, 125, 0, 100),
    "medulla": (110, 35, 0, 110),
    "lung": (85, 110, 0, 60),
    "heart": (55, 60, 0, 40),
}


@dataclass(frozen=True)
class _Tissue:
    hu: float
    uptake: str = "none"
    spread: float = 4.0  # how the mean differs between patients, HU
    texture: float = 3.0  # how much it varies inside, HU


_TISSUES = {
    Material.AIR: _Tissue(-1000, spread=0, texture=0),
    Material.SKIN: _Tissue(10, texture=8),
    Material.FAT: _Tissue(-105, texture=8),
    Material.MUSCLE: _Tissue(42, "soft", texture=9),
    Material.FAT_PLANE: _Tissue(-60, texture=20),
    Material.CORTEX: _Tissue(620, spread=60, texture=60),
    Material.MARROW: _Tissue(160, spread=30, texture=45),
    Material.DISC: _Tissue(85, texture=6),
    Material.CORD: _Tissue(38, texture=3),
    Material.CANAL: _Tissue(12, texture=4),
    Material.CARTILAGE: _Tissue(105, texture=15),
    Material.LUNG: _Tissue(-855, spread=18, texture=22),
    Material.LUNG_VESSEL: _Tissue(40, "lung", texture=5),
    Material.AIRWAY: _Tissue(-990, spread=4, texture=2),
    Material.AIRWAY_WALL: _Tissue(0, texture=15),
    Material.MEDIASTINAL_FAT: _Tissue(-92, texture=14),
    Material.HEART_WALL: _Tissue(42, "heart", texture=5),
    Material.ARTERY: _Tissue(42, "artery", spread=8, texture=3),
    Material.VEIN: _Tissue(42, "vein", spread=8, texture=4),
    Material.OESOPHAGUS: _Tissue(35, "soft", texture=10),
    Material.LIVER: _Tissue(56, "liver", spread=7, texture=5),
    Material.LIVER_VESSEL: _Tissue(43, "vein", spread=8, texture=3),
    Material.GALLBLADDER: _Tissue(9, texture=2),
    Material.SPLEEN: _Tissue(48, "spleen", texture=4),
    Material.PANCREAS: _Tissue(35, "gut", texture=14),
    Material.STOMACH_WALL: _Tissue(38, "gut", texture=8),
    Material.FLUID: _Tissue(14, spread=10, texture=7),
    Material.GAS: _Tissue(-960, spread=10, texture=5),
    Material.BOWEL_WALL: _Tissue(35, "gut", texture=8),
    Material.CHYME: _Tissue(28, spread=12, texture=14),
    Material.ORAL_CONTRAST: _Tissue(230, spread=60, texture=25),
    Material.STOOL: _Tissue(20, spread=20, texture=55),
    Material.KIDNEY_CORTEX: _Tissue(34, "cortex", texture=5),
    Material.KIDNEY_MEDULLA: _Tissue(32, "medulla", texture=5),
    Material.KIDNEY_SINUS: _Tissue(-60, texture=28),
    Material.ABDOMINAL_FAT: _Tissue(-104, texture=13),
    Material.MESENTERIC_VESSEL: _Tissue(42, "vein", texture=4),
    Material.BLADDER: _Tissue(5, texture=2),
    Material.UTERUS: _Tissue(42, "gut", texture=8),
    Material.PELVIC_FAT: _Tissue(-100, texture=13),
    Material.PELVIC_VESSEL: _Tissue(42, "vein", spread=8, texture=4),
    Material.TABLE: _Tissue(-350, spread=60, texture=5),
    Material.TABLE_CORE: _Tissue(-930, spread=10, texture=4),
}


@dataclass(frozen=True)
class Palette:
    """One patient's look-up tables, from label to HU.

    Parameters
    ----------
    hu
        (phases, 256) float32: mean HU of every label in every phase.
    texture
        (256,) float32: how much it varies inside, HU.
    """

    hu: np.ndarray
    texture: np.ndarray


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw one patient's HU values; every phase belongs to the same tissues."""
    hu = np.zeros((len(PHASES), 256), np.float32)
    texture = np.zeros(256, np.float32)
    dose = rng.uniform(0.6, 1.15)
    for material in Material:
        tissue = _TISSUES[material]
        offset = rng.normal(0, 1) * tissue.spread
        hu[:, material] = tissue.hu + offset + dose * np.asarray(_UPTAKE[tissue.uptake])
        texture[material] = tissue.texture
    return Palette(hu, texture)
