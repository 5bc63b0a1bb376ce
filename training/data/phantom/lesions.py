"""Lesions of DeepLesion's eight types: where they lie, how large, how irregular and how faint they are."""

from dataclasses import dataclass

import cv2
import numpy as np

from napari_uld.lesions.annotations import LesionType

from .palette import Material, Palette

M = Material
_MOST_TRIES = 40
_TRIES_PER_TYPE = 6
_THINNEST_SAMPLE = 0.8  # mm along the body between samples of a lesion's shape


@dataclass(frozen=True)
class _Kind:
    """How one type of lesion is drawn.

    Parameters
    ----------
    hosts
        Materials it may sit in; their vessels count as host.
    through
        Materials that do not bound the host.
    share
        How often it is drawn where its host is there; over all regions that gives about DeepLesion's shares.
    median
        Median long diameter in mm, as in DeepLesion's test rows.
    depth
        Distance of the centre from the host's border, in radii.
    contrast
        (low, high, probability) ranges of HU against the host.
    """

    hosts: tuple[Material, ...]
    through: tuple[Material, ...]
    share: float
    median: float
    depth: float
    contrast: tuple[tuple[float, float, float], ...]


KINDS = {
    LesionType.BONE: _Kind((M.MARROW,), (), 0.04, 16.0, 0.5, ((-140, -80, 0.6), (180, 320, 0.4))),
    LesionType.ABDOMEN: _Kind((M.ABDOMINAL_FAT,), (M.MESENTERIC_VESSEL,), 0.16, 20.5, 0.45, ((135, 185, 1.0),)),
    LesionType.MEDIASTINUM: _Kind((M.MEDIASTINAL_FAT,), (M.AIRWAY_WALL,), 0.16, 19.0, 0.45, ((130, 175, 1.0),)),
    LesionType.LIVER: _Kind((M.LIVER,), (M.LIVER_VESSEL,), 0.26, 23.5, 0.7, ((-90, -45, 0.8), (40, 65, 0.2))),
    LesionType.LUNG: _Kind((M.LUNG,), (M.LUNG_VESSEL,), 0.22, 13.0, 0.5, ((820, 900, 0.9), (400, 550, 0.1))),
    LesionType.KIDNEY: _Kind(
        (M.KIDNEY_CORTEX, M.KIDNEY_MEDULLA), (M.KIDNEY_SINUS,), 0.16, 20.0, 0.4, ((-140, -65, 1.0),)
    ),
    LesionType.SOFT_TISSUE: _Kind((M.MUSCLE, M.FAT), (M.FAT_PLANE,), 0.06, 21.5, 0.45, ((40, 70, 1.0),)),
    LesionType.PELVIS: _Kind((M.PELVIC_FAT,), (M.PELVIC_VESSEL,), 0.2, 21.5, 0.45, ((135, 185, 1.0),)),
}
_SPREAD = 0.5  # of the logarithm of the long diameter


@dataclass(frozen=True)
class Lesion:
    """One lesion before it is imaged.

    Parameters
    ----------
    lesion_type
        One of DeepLesion's types.
    host
        Label of the material it sits in.
    centre
        (x, y, t) mm.
    radii
        Half axes in mm.
    rotation
        (3, 3) matrix into the half axes' frame.
    waves, phases, bumps
        (n, 3), (n,), (n,): directions, phases and relative sizes of its contour's irregularity.
    contrast
        HU against its host in the first phase.
    uptake
        Share of the host's enhancement that it follows in the later phases.
    core
        HU by which its centre differs from its rim.
    """

    lesion_type: LesionType
    host: int
    centre: tuple[float, float, float]
    radii: np.ndarray
    rotation: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    bumps: np.ndarray
    contrast: float
    uptake: float
    core: float

    @property
    def reach(self) -> float:
        """Radius in mm of a sphere that holds it."""
        return float(self.radii.max() * (1 + np.abs(self.bumps).sum()))

    def hu(self, palette: Palette, phase: int) -> float:
        """Mean HU in a phase."""
        host = palette.hu[:, self.host]
        return float(host[0] + self.contrast + self.uptake * (host[phase] - host[0]))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Signed distance in mm from the surface, about: positive inside; `points` is (..., 3) mm."""
        local = (points - np.asarray(self.centre)) @ self.rotation.T
        scaled = local / self.radii
        rho = np.linalg.norm(scaled, axis=-1)
        direction = scaled / np.maximum(rho, 1e-6)[..., None]
        surface = 1 + np.sin(direction @ self.waves.T + self.phases) @ self.bumps
        length = np.linalg.norm(local, axis=-1)
        # Millimetres a unit of rho in this direction; at the very centre any direction will do.
        unit = np.where(rho > 1e-3, length / np.maximum(rho, 1e-3), self.radii.min())
        return (surface - rho) * unit


def place(
    rng: np.random.Generator,
    hosts: np.ndarray,
    spacing: float,
    thickness: float,
    start: float,
    palette: Palette,
    *,
    times: int = 1,
) -> list[Lesion]:
    """Draw four to eight lesions, several `times` over, that fit into the anatomy and do not touch each other.

    Parameters
    ----------
    rng
        Randomness.
    hosts
        (slices, h, w) labels, one in every `512 / h` pixels.
    spacing
        mm a pixel of `hosts`.
    thickness, start
        mm a slice, and t of the first slice's centre.
    palette
        The patient's HU.
    times
        How many usual studies' lesions to draw.
    """
    counts = np.bincount(hosts.ravel(), minlength=256)
    kinds = [t for t, kind in KINDS.items() if counts[list(kind.hosts)].sum() * spacing**2 * thickness > 15000]
    shares = np.array([KINDS[t].share for t in kinds])
    wanted = sum(int(rng.integers(4, 9)) for _ in range(times))
    placed: list[Lesion] = []
    for _ in range(_MOST_TRIES * times):
        if len(placed) == wanted:
            break
        lesion_type = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        tries = (_try(rng, lesion_type, hosts, spacing, thickness, start) for _ in range(_TRIES_PER_TYPE))
        lesion = next((placed for placed in tries if placed is not None), None)
        if lesion is not None and all(_apart(lesion, other) for other in placed):
            placed.append(lesion)
    return placed


def _apart(a: Lesion, b: Lesion) -> bool:
    gap = np.linalg.norm(np.subtract(a.centre, b.centre)) - a.reach - b.reach
    return bool(gap > 4.0)


def _try(
    rng: np.random.Generator, lesion_type: LesionType, hosts: np.ndarray, spacing: float, thickness: float, start: float
) -> Lesion | None:
    kind = KINDS[lesion_type]
    diameter = float(np.clip(kind.median * np.exp(_SPREAD * rng.normal()), 8.0, 75.0))
    z = int(rng.integers(len(hosts)))
    inside = np.isin(hosts[z], kind.hosts + kind.through)
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3) * spacing
    host = kind.hosts[int(rng.integers(len(kind.hosts)))]
    fits = np.flatnonzero((distance >= kind.depth * diameter / 2) & (hosts[z] == host))
    if fits.size == 0:
        return None
    y, x = np.unravel_index(int(rng.choice(fits)), hosts[z].shape)
    shift = rng.uniform(-0.5, 0.5)
    half = (hosts.shape[1] - 1) / 2
    centre = (float(x - half) * spacing, float(y - half) * spacing, start + (z + shift) * thickness)
    return _shape(rng, lesion_type, int(host), centre, diameter / 2)


def _shape(
    rng: np.random.Generator, lesion_type: LesionType, host: int, centre: tuple[float, float, float], radius: float
) -> Lesion:
    kind = KINDS[lesion_type]
    ranges = kind.contrast
    if host == Material.FAT:
        ranges = ((125, 170, 1.0),)
    low, high, _ = ranges[int(rng.choice(len(ranges), p=[r[2] for r in ranges]))]
    contrast = float(rng.uniform(low, high))
    axes = radius * np.array([1.0, rng.uniform(0.62, 0.98), rng.uniform(0.6, 1.0)])
    rotation = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
    n = 7
    waves = rng.normal(0, 1, (n, 3))
    waves *= (rng.uniform(1.8, 4.5, n) / np.linalg.norm(waves, axis=1))[:, None]
    rough = rng.uniform(0.03, 0.10)
    bumps = rough * rng.normal(0, 1, n).clip(-1.6, 1.6)
    core = float(rng.uniform(-18, 4)) if radius > 8 else 0.0
    uptake = float(rng.uniform(0.2, 0.7))
    phases = rng.uniform(0, 2 * np.pi, n)
    return Lesion(lesion_type, host, centre, axes, rotation, waves, phases, bumps, contrast, uptake, core)


@dataclass(frozen=True)
class Imaged:
    """A lesion's share of the voxels around it.

    Parameters
    ----------
    low
        Index (z, y, x) of the patch's first voxel.
    share
        (z, y, x) float32 patch: which part of each voxel is lesion.
    """

    low: tuple[int, int, int]
    share: np.ndarray

    def mask(self, z: int, size: int) -> np.ndarray:
        """(size, size) bool mask on slice `z`: voxels at least half of which are lesion."""
        full = np.zeros((size, size), bool)
        if 0 <= z - self.low[0] < len(self.share):
            patch = self.share[z - self.low[0]] >= 0.5
            full[self.low[1] : self.low[1] + patch.shape[0], self.low[2] : self.low[2] + patch.shape[1]] = patch
        return full


def image(lesion: Lesion, spacing: float, thickness: float, start: float, slices: int, size: int) -> Imaged | None:
    """Average a lesion over the voxels' extent, thick slices over their whole thickness; None where it is outside."""
    centre, reach = np.array(lesion.centre), lesion.reach + 1.0
    half = (size - 1) / 2
    x0, y0 = (int(np.floor((c - reach) / spacing + half)) for c in centre[:2])
    x1, y1 = (int(np.ceil((c + reach) / spacing + half)) + 1 for c in centre[:2])
    z0 = int(np.floor((centre[2] - reach - start) / thickness + 0.5))
    z1 = int(np.ceil((centre[2] + reach - start) / thickness - 0.5)) + 1
    x0, y0, z0, x1, y1, z1 = max(x0, 0), max(y0, 0), max(z0, 0), min(x1, size), min(y1, size), min(z1, slices)
    if x1 <= x0 or y1 <= y0 or z1 <= z0:
        return None
    n = max(1, round(thickness / _THINNEST_SAMPLE))
    within = ((np.arange(n) + 0.5) / n - 0.5) * thickness
    t = (start + np.arange(z0, z1)[:, None] * thickness + within).ravel()
    x, y = ((np.arange(a, b) - half) * spacing for a, b in ((x0, x1), (y0, y1)))
    share = np.zeros((z1 - z0, y1 - y0, x1 - x0), np.float32)
    plane = np.empty((y.size, x.size, 3))
    plane[..., 0], plane[..., 1] = x, y[:, None]
    for k, level in enumerate(t):
        plane[..., 2] = level
        share[k // n] += np.clip(0.5 + lesion.depth(plane) / spacing, 0, 1) / n
    return Imaged((z0, y0, x0), share)


def blend(
    slices: np.ndarray, imaged: Imaged, lesion: Lesion, palette: Palette, phase: int, texture: np.ndarray
) -> None:
    """Put a lesion into the noise-free `slices` (z, y, x) of a phase; `texture` is (h, w), its mottling in HU."""
    (z, y, x), (nz, ny, nx) = imaged.low, imaged.share.shape
    patch = slices[z : z + nz, y : y + ny, x : x + nx]
    level = lesion.hu(palette, phase) + texture[y : y + ny, x : x + nx]
    inner = cv2.blur(imaged.share.max(axis=0), (9, 9)) ** 3 if lesion.core else 0.0
    patch += imaged.share * (level + lesion.core * inner - patch)
