"""One study: a patient's anatomy, lesions and the images of every phase."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from napari_uld.lesions.recist import Recist, from_mask

from . import organs, torso
from .lesions import Imaged, Lesion, blend, image, place
from .palette import Palette, draw_palette
from .scanner import Scanner, Texture, draw_scanner, falloff, finish, noise
from .shapes import Canvas, Shape

SIZE = 512
EXTENT = 60.0  # mm along the body
# Where the drawn body ends, mm from the lungs' apex, and the longest study that fits above.
_END = 565.0
LONGEST = 525.0
_THICKNESS = {1.0: 0.3, 2.0: 0.2, 5.0: 0.5}
_LAYERS = {1.0: 1, 2.0: 2, 5.0: 3}  # anatomy is painted so many times a slice and averaged
_REGIONS = {"chest": (35.0, 150.0), "abdomen": (215.0, 335.0), "pelvis": (415.0, 500.0)}
_REGION_SHARES = (0.42, 0.38, 0.20)
_HOST_STEP = 2  # lesions are placed on every second pixel's label
_LEAST_PIXELS = 14  # of a lesion's mask on its key slice


@dataclass(frozen=True)
class Marked:
    """A lesion that shows in the images.

    Parameters
    ----------
    lesion
        Its shape and contrast.
    imaged
        Its share of every voxel.
    masks
        For every slice (0-based, from the head) that it touches, its mask, (512, 512) bool.
    recists
        The measurement on each of these slices.
    key
        The slice on which its mask is largest.
    listed
        Whether the annotations list it.
    """

    lesion: Lesion
    imaged: Imaged
    masks: dict[int, np.ndarray]
    recists: dict[int, Recist]
    key: int
    listed: bool


@dataclass(frozen=True)
class Study:
    """One patient's study before the scanner's noise.

    Parameters
    ----------
    region
        chest, abdomen or pelvis.
    spacing, thickness
        mm.
    start
        t of the first slice's centre, mm.
    first
        Native number of the first slice.
    female, age
        The patient.
    scanner, palette, texture
        How it looks.
    clean
        (phases, slices, 512, 512) float32 HU without noise and lesions.
    labels
        (slices, 512, 512) uint8 materials half way through each slice.
    lesions
        What is to be found.
    """

    region: str
    spacing: float
    thickness: float
    start: float
    first: int
    female: bool
    age: int
    scanner: Scanner
    palette: Palette
    texture: Texture
    clean: np.ndarray
    labels: np.ndarray
    lesions: tuple[Marked, ...]

    def images(self, phase: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Give the slices of a phase from the head down, (512, 512) int16 HU each."""
        slices = self.clean[phase].copy()
        for k, marked in enumerate(self.lesions):
            mottling = 5 * self.texture.at(977.0 * (k + 1))
            blend(slices, marked.imaged, marked.lesion, self.palette, phase, mottling)
        for z, clean in enumerate(slices):
            labels = self.labels[z]
            gain = cv2.LUT(labels, self.palette.texture)
            textured = clean + gain * self.texture.at(self.start + z * self.thickness)
            spread = falloff(SIZE, labels > 0)
            yield finish(textured, noise(rng, self.scanner, SIZE), self.scanner, spread)


def draw_study(seed: int, patient: int, phases: int, extent: float = EXTENT) -> Study:
    """Draw a patient's study; everything but the noise depends on (seed, patient, extent) alone.

    A longer study begins where the usual one does, or as far above the body's end as it is long, and shows one torso
    from the lungs to the hips, with as many lesions a millimetre (see `torso.hips`).
    """
    rng = np.random.default_rng([seed, patient])
    thickness = float(rng.choice(list(_THICKNESS), p=list(_THICKNESS.values())))
    region = str(rng.choice(list(_REGIONS), p=_REGION_SHARES))
    build = torso.draw_build(rng)
    widest = 2 * (140 * build.width + 1.25 * build.fat)
    spacing = round(float(np.clip(widest * rng.uniform(0.95, 1.2) / SIZE, 0.6, 0.95)), 6)
    start = min(float(rng.uniform(*_REGIONS[region])), _END - extent) + thickness / 2
    span = start, start + extent
    shapes = _anatomy(rng, build, region, span) if extent == EXTENT else _whole_torso(rng, build, span)
    palette, texture, scanner = draw_palette(rng), Texture(rng, SIZE), draw_scanner(rng, thickness)
    slices = int(extent // thickness) + 1
    clean, labels = _render(shapes, palette, phases, spacing, thickness, start, slices)
    hosts = labels[:, ::_HOST_STEP, ::_HOST_STEP]
    drawn = place(rng, hosts, spacing * _HOST_STEP, thickness, start, palette, times=round(extent / EXTENT))
    marked = _mark(rng, drawn, spacing, thickness, start, slices)
    return Study(
        region,
        spacing,
        thickness,
        start,
        int(rng.integers(1, 60)),
        build.female,
        int(rng.integers(24, 86)),
        scanner,
        palette,
        texture,
        clean,
        labels,
        marked,
    )


def _anatomy(rng: np.random.Generator, build: torso.Build, region: str, span: tuple[float, float]) -> list[Shape]:
    inside = torso.cavity(rng, build, region)
    shapes: list[Shape] = [inside]
    if region != "pelvis":
        shapes += organs.chest(rng, build, span) + organs.abdomen(rng, build)
    else:
        shapes += organs.pelvis(rng, build)
    shapes += torso.wall(rng, build, inside)
    shapes += torso.spine(rng, build)
    shapes += torso.pelvic_bones(rng, build) if region == "pelvis" else torso.ribs(rng, build, inside)
    return [*shapes, *torso.table(rng, build, inside)]


def _whole_torso(rng: np.random.Generator, build: torso.Build, span: tuple[float, float]) -> list[Shape]:
    """All three regions' organs in one body; from the iliac crest down the pelvis' lie over the abdomen's."""
    inside = torso.cavity(rng, build, "abdomen")
    return [
        inside,
        *organs.chest(rng, build, span),
        *organs.abdomen(rng, build),
        *organs.pelvis(rng, build),
        *torso.wall(rng, build, inside),
        *torso.spine(rng, build),
        *torso.ribs(rng, build, inside),
        *torso.hips(rng, build, inside),
        *torso.table(rng, build, inside),
    ]


def _render(
    shapes: list[Shape], palette: Palette, phases: int, spacing: float, thickness: float, start: float, slices: int
) -> tuple[np.ndarray, np.ndarray]:
    """HU (phases, slices, 512, 512) averaged over each slice's thickness, and the labels half way through it."""
    clean = np.zeros((phases, slices, SIZE, SIZE), np.float32)
    labels = np.zeros((slices, SIZE, SIZE), np.uint8)
    layers = _LAYERS[thickness]
    canvas = Canvas(SIZE, spacing)
    for z in range(slices):
        for k in range(layers):
            t = start + z * thickness + ((k + 0.5) / layers - 0.5) * thickness
            canvas.labels[:] = 0
            for shape in shapes:
                shape.paint(canvas, t)
            for phase in range(phases):
                fine = cv2.LUT(canvas.labels, palette.hu[phase])
                clean[phase, z] += cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA) / np.float32(layers)
            if k == layers // 2:
                labels[z] = canvas.labels[::2, ::2]
    return clean, labels


def _mark(
    rng: np.random.Generator, drawn: list[Lesion], spacing: float, thickness: float, start: float, slices: int
) -> tuple[Marked, ...]:
    seen = []
    for lesion in drawn:
        imaged = image(lesion, spacing, thickness, start, slices, SIZE)
        if imaged is None:
            continue
        touched = [imaged.low[0] + k for k in np.flatnonzero((imaged.share >= 0.5).any(axis=(1, 2))).tolist()]
        masks = {z: imaged.mask(z, SIZE) for z in touched}
        if masks and max(int(m.sum()) for m in masks.values()) >= _LEAST_PIXELS:
            seen.append((lesion, imaged, masks))
    # Half of a study's lesions are listed; an odd one out is listed or not by chance.
    count = len(seen) // 2 + int(len(seen) % 2 and rng.random() < 0.5)
    listed = set(rng.permutation(len(seen))[:count].tolist())
    marked = []
    for i, (lesion, imaged, masks) in enumerate(seen):
        key = max(masks, key=lambda z: int(masks[z].sum()))
        recists = {z: from_mask(mask) for z, mask in masks.items()}
        marked.append(Marked(lesion, imaged, masks, recists, key, i in listed))
    return tuple(marked)
