"""What the scanner adds: the point spread, correlated noise and the field of view."""

from dataclasses import dataclass

import cv2
import numpy as np

OUTSIDE = -3024  # what some scanners write outside the reconstructed circle
_COARSE = 16  # the noise's slow change across the image is computed at a sixteenth of its size


@dataclass(frozen=True)
class Scanner:
    """How one study was reconstructed.

    Parameters
    ----------
    psf
        Sigma of the in-plane point spread in pixels.
    noise
        Sigma of the noise in HU at the body's centre.
    grain
        Sigma in pixels of the noise's finer correlation.
    circle
        Whether what is outside the field of view's circle is padded.
    """

    psf: float
    noise: float
    grain: float
    circle: bool


def draw_scanner(rng: np.random.Generator, thickness: float) -> Scanner:
    """Draw one study's reconstruction; thinner slices are noisier and sharper."""
    noise = rng.uniform(9.0, 12.0) + {1.0: 2.5, 2.0: 1.2}.get(thickness, 0.0)
    return Scanner(
        float(rng.uniform(0.55, 0.8)), float(noise), float(rng.uniform(0.75, 1.05)), bool(rng.random() < 0.35)
    )


def mottle(rng: np.random.Generator, size: int, cell: int) -> np.ndarray:
    """Smooth random field (size, size) of unit variance whose grains are about `cell` pixels wide."""
    n = size // cell + 3
    field = cv2.resize(
        rng.standard_normal((n, n), dtype=np.float32), (n * cell, n * cell), interpolation=cv2.INTER_CUBIC
    )
    field = field[cell : cell + size, cell : cell + size]
    return field / field.std()


class Texture:
    """Mottling of the tissues, continuous along the body: two scales of two fields turning into each other."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self._fields = [[mottle(rng, size, cell) for _ in range(3)] for cell in (5, 14)]
        self._rates = rng.uniform(0.25, 0.4, 2), rng.uniform(0.08, 0.14, 2)

    def at(self, t: float) -> np.ndarray:
        """(size, size) field of unit variance at `t` mm."""
        total = np.zeros_like(self._fields[0][0])
        for fields, rates in zip(self._fields, self._rates, strict=True):
            a, b = rates[0] * t, rates[1] * t
            for field, weight in zip(fields, (np.cos(a), np.sin(a) * np.cos(b), np.sin(a) * np.sin(b)), strict=True):
                total += np.float32(0.707 * weight) * field
        return total


def noise(rng: np.random.Generator, scanner: Scanner, size: int) -> np.ndarray:
    """(size, size) noise in HU with filtered back-projection's texture: little power at the lowest frequencies."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    fine = cv2.GaussianBlur(white, (0, 0), scanner.grain)
    band = fine - 0.75 * cv2.GaussianBlur(white, (0, 0), 2.6 * scanner.grain)
    return band * (scanner.noise / band.std())


def falloff(size: int, body: np.ndarray) -> np.ndarray:
    """(size, size) relative noise: strongest deep inside the body (bool mask), weak in the air around."""
    coarse = cv2.resize(body.astype(np.float32), (size // _COARSE, size // _COARSE), interpolation=cv2.INTER_AREA)
    inside = cv2.GaussianBlur(coarse, (0, 0), 0.1 * size / _COARSE)
    return 0.3 + 0.75 * cv2.resize(inside, (size, size), interpolation=cv2.INTER_LINEAR)


def finish(clean: np.ndarray, grain: np.ndarray, scanner: Scanner, spread: np.ndarray) -> np.ndarray:
    """Blur, add noise and give int16 HU, (size, size)."""
    seen = cv2.GaussianBlur(clean, (0, 0), scanner.psf) + grain * spread
    whole = np.clip(np.rint(seen), -1024, 3071).astype(np.int16)
    if scanner.circle:
        size = clean.shape[0]
        axis = np.arange(size) - (size - 1) / 2
        whole[axis[:, None] ** 2 + axis**2 > (size / 2) ** 2] = OUTSIDE
    return whole
