"""Between a scan's own voxels and what a network sees of them."""

from dataclasses import dataclass

import numpy as np

from napari_uld.lesions.boxes import to_centres, to_edges


@dataclass(frozen=True)
class AxisMap:
    """Where a resampled crop lies in a scan, axis by axis.

    Parameters
    ----------
    offset
        Native edge-based position of the crop's first edge along (x, y) or (x, y, z).
    scale
        Network voxels per native voxel along each.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def to_network(self, native: np.ndarray) -> np.ndarray:
        """Native pixel-centre boxes (n, 2 * axes), or points (n, axes) -> edge-based ones in the network's input."""
        return (to_edges(native) - self._along(native, self.offset)) * self._along(native, self.scale)

    def to_native(self, network: np.ndarray) -> np.ndarray:
        """Edge-based boxes (n, 2 * axes), or points (n, axes), in the network's input -> native pixel-centre ones."""
        return to_centres(network / self._along(network, self.scale) + self._along(network, self.offset))

    def _along(self, rows: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
        return np.tile(values, rows.shape[-1] // len(values))
