"""Where networks run, and in what precision."""

import torch

from napari_uld.detectors.parts import Detector
from napari_uld.errors import DeviceError


def pick_device(device: str) -> torch.device:
    """Turn "auto", "cuda", "mps" or "cpu" into a device that is there.

    Raises
    ------
    DeviceError
        If the device asked for is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, is_present in present.items() if is_present)
    if not present.get(device, False):
        names = ", ".join(name for name, is_present in present.items() if is_present)
        raise DeviceError(
            f"The device {device} is not there; this machine has: {names}. Choose auto to use the best one"
        )
    return torch.device(device)


def place(model: Detector, device: torch.device) -> None:
    """Move a network to a device, its kernels in the memory layout that images are run in."""
    model.to(device)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weights in model.parameters():
        if weights.dim() in layouts:
            weights.data = weights.data.contiguous(memory_format=layouts[weights.dim()])


def mixed_precision(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """Half precision where the hardware computes in it: bfloat16 on GPUs and CPUs that have it, else float16 on CUDA.

    Parameters
    ----------
    enabled
        False computes everything in float32.
    """
    if device.type == "cuda":
        # Inputs reach 255: without norms float16's range can be too small.
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.autocast("cuda", kind, enabled=enabled)
    # Older releases of torch cannot tell what a CPU has: there we stay with float32.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    native = device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled and native)
