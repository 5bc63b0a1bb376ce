"""How slices become a network's input."""

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from napari_uld.detectors.specs.base import Spec

Window = tuple[float, float]


class InputSpec(Spec):
    """How slices become a network's input: one image, several that an encoder joins, or a volume."""

    # Along z: of a slab, or of a volume's crop in training.
    slices: PositiveInt = 3
    slices_per_image: PositiveInt = 3
    interval_mm: PositiveFloat = 2.0
    # Whether slices further apart than the interval are interpolated between; else their neighbours are the scan's own.
    interpolate_thick: bool = True
    # The window becomes [0, value_range], and the mean is subtracted.
    window: Window = (-1024.0, 3071.0)
    # Further windows: each makes images of its own from the same slices, window by window.
    more_windows: tuple[Window, ...] = ()
    value_range: PositiveFloat = 255.0
    mean: float = 50.0
    # Millimetres of a pixel; 0 makes the long side `long_side` pixels whatever they measure.
    spacing_mm: float = Field(default=0.8, ge=0)
    long_side: PositiveInt = 512
    crop_to_body: bool = True
    # Whether a slab's images stand where its neighbours' do, so that each goes through the backbone once: their middles
    # on whole slices, the body's crop on a grid of 16 mm. Else each lies exactly where the interval says.
    share_images: bool = False
    # A volume [1, slices, H, W] with 3D boxes instead of a slab about a key slice.
    volume: bool = False
    # The contrast phases of a study that are a volume's channels, in this order: [phases, slices, H, W]. Without any a
    # scan is seen by itself.
    phases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "InputSpec":
        if self.volume:
            if self.slices_per_image != 1 or self.more_windows or not self.spacing_mm:
                raise ValueError("a volume has one window, a spacing_mm, and slices_per_image = 1")
            if len(set(self.phases)) != len(self.phases) or not all(self.phases):
                raise ValueError(f"phases must be different names; found {', '.join(self.phases)}")
        elif self.phases:
            raise ValueError("slabs are of one series: phases need volume = true")
        elif self.slices % 2 == 0:
            raise ValueError(f"slices must be odd (the key slice is the middle one); found {self.slices}")
        elif self.slices % self.slices_per_image:
            raise ValueError(f"slices must be a multiple of slices_per_image; found {self.slices}")
        for window in self.windows:
            if window[0] >= window[1]:
                raise ValueError(f"window must be (low, high) HU with low < high; found {window}")
        return self

    @property
    def windows(self) -> tuple[Window, ...]:
        """All windows, (low, high) HU, in the order of their images."""
        return (self.window, *self.more_windows)

    @property
    def channels(self) -> int:
        """Channels of one image, or of a volume."""
        return max(len(self.phases), 1) if self.volume else self.slices_per_image

    @property
    def images_per_window(self) -> int:
        """Images of a slab in one window, the key slice in the middle one's middle."""
        return 1 if self.volume else self.slices // self.slices_per_image

    @property
    def images(self) -> int:
        """Images of a slab, window by window."""
        return self.images_per_window * len(self.windows)

    def step_mm(self, thickness: float) -> float:
        """Millimetres from one slice of a slab to the next, in a scan whose slices lie `thickness` mm apart."""
        return self.interval_mm if self.interpolate_thick else max(self.interval_mm, thickness)
