"""Where networks run, and in what precision."""

import pytest
import torch

from napari_uld.errors import DeviceError
from napari_uld.inference.device import mixed_precision, pick_device


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (True, False, "cuda"), (False, False, "cpu")]
)
def test_auto_is_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert pick_device("auto").type == best
    assert pick_device("cpu").type == "cpu"


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=False, mps=True)
    with pytest.raises(DeviceError, match="cuda is not there; this machine has: mps, cpu"):
        pick_device("cuda")
    with pytest.raises(DeviceError, match="abacus"):
        pick_device("abacus")


def precision_on_cpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], *, enabled: bool = True
) -> torch.dtype:
    """What a product of float32 matrices comes out as."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with mixed_precision(torch.device("cpu"), enabled=enabled):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize("capability", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_that_computes_in_bfloat16_does_unless_it_is_told_not_to(
    monkeypatch: pytest.MonkeyPatch, capability: str
) -> None:
    assert precision_on_cpu(monkeypatch, {capability: True}) == torch.bfloat16
    assert precision_on_cpu(monkeypatch, {capability: True}, enabled=False) == torch.float32


def test_other_cpus_and_releases_that_cannot_tell_stay_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_on_cpu(monkeypatch, {"avx2": True}) == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_gpu_computes_in_float16() -> None:
    context = mixed_precision(torch.device("cuda"))
    assert context.fast_dtype == torch.float16
    assert context.device == "cuda"
