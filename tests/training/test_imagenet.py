"""ImageNet's weights are taken where a recipe asks for them, or it is said which file is missing, and what to do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import resnet101, vgg16

from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.backbones.vgg import Vgg
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.errors import TrainingError
from napari_uld.progress import finish
from napari_uld.training.imagenet import URLS, take_imagenet
from napari_uld.training.loop import Run, TrainingOptions, train

from ..cli.running import run

VGG16 = "vgg16_features-amdegroot-88682ab5.pth"


def backbone(**changes: object) -> Vgg:
    published = {"convolutions": (2, 2, 3, 3, 3), "width": 1.0, "without_pools": (4, 5), "norm": "none"}
    return Vgg(in_channels=3, **(published | changes))  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's cache, empty, on a machine without a network."""

    def refused(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the published VGG-16, random ones."""
    path = tmp_path_factory.mktemp("weights") / VGG16
    torch.manual_seed(0)
    torch.save({f"features.{name}": value for name, value in vgg16(weights=None).features.state_dict().items()}, path)
    return path


def convolutions(model: nn.Module) -> list[torch.Tensor]:
    return [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]


def test_they_come_from_torchvisions_cache(cache: Path, file: Path) -> None:
    cache.mkdir(parents=True)
    (cache / VGG16).write_bytes(file.read_bytes())
    ours = backbone()
    assert take_imagenet(ours) == cache / VGG16
    kept = [value for name, value in torch.load(file, weights_only=True).items() if value.dim() == 4]
    assert all(torch.equal(a, b) for a, b in zip(convolutions(ours), kept, strict=True))


def test_where_there_is_a_network_they_are_fetched_into_it_once(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(url: str, path: str, hash_prefix: str) -> None:
        asked.append((url, hash_prefix))
        Path(path).write_bytes(file.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    take_imagenet(backbone())
    take_imagenet(backbone())
    assert asked == [(URLS[VGG16], "88682ab5")]


def test_without_a_network_the_file_the_folder_and_the_remedy_are_named(cache: Path) -> None:
    with pytest.raises(TrainingError) as refused:
        take_imagenet(backbone())
    sentence = str(refused.value)
    assert all(part in sentence for part in (VGG16, str(cache), "--weights FILE", "--from-scratch", "no network"))


@pytest.mark.usefixtures("cache")
def test_a_file_may_be_given_instead(file: Path) -> None:
    assert take_imagenet(backbone(), file) == file


@pytest.mark.parametrize(
    "other", [backbone(width=0.25), ResNet(in_channels=3, blocks=(1, 1, 1, 1), width=0.1, stem_pool=True)]
)
def test_weights_of_another_network_are_refused(file: Path, other: Vgg) -> None:
    before = [weights.clone() for weights in convolutions(other)]
    with pytest.raises(TrainingError, match="of another network"):
        take_imagenet(other, file)
    assert all(torch.equal(a, b) for a, b in zip(convolutions(other), before, strict=True))


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(TrainingError, match=r"x\.pth cannot be read as weights"):
        take_imagenet(backbone(), tmp_path / "x.pth")


@pytest.mark.usefixtures("cache")
def test_of_a_backbone_of_ones_own_there_are_none() -> None:
    with pytest.raises(TrainingError, match="no ImageNet weights for this backbone"):
        take_imagenet(backbone(convolutions=(1, 1, 1, 1, 1)))


@pytest.mark.usefixtures("cache")
def test_training_a_published_recipe_without_weights_exits_with_one_sentence(phantoms: Path, tmp_path: Path) -> None:
    done = run("train", "faster_rcnn", "--data", str(phantoms), "--out", str(tmp_path / "run"), "--device", "cpu")
    assert done.returncode == 1
    assert VGG16 in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("recipe", "host"), [("faster_rcnn_bm", "faster_rcnn"), ("3dce_bmc", "3dce")])
def test_a_recipe_that_starts_from_a_trained_host_asks_for_its_checkpoint(
    recipe: str, host: str, phantoms: Path, tmp_path: Path
) -> None:
    published = load_recipe(recipe)
    assert published.method.init == host
    assert load_recipe(recipe, "small").method.init == "none"
    with pytest.raises(TrainingError, match=rf"starts from a trained {host}: give its checkpoint with --init"):
        finish(train(published, TrainingOptions(phantoms, tmp_path / "run", device="cpu")))


def test_weights_that_a_training_would_not_take_are_refused(
    phantoms: Path, tiny_recipe: Callable[..., Recipe], tmp_path: Path, file: Path
) -> None:
    options = TrainingOptions(phantoms, tmp_path / "run", weights=file, device="cpu")
    with pytest.raises(TrainingError, match="this training does not"):
        finish(train(tiny_recipe("faster_rcnn"), options))


def resnet_weights(folder: Path) -> Path:
    """Weights of the published ResNet-101 whose norms have statistics of their own."""
    network = resnet101()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(0.1)  # type: ignore[union-attr]
    torch.save(network.state_dict(), folder / "resnet101.pth")
    return folder / "resnet101.pth"


@pytest.fixture(scope="module")
def frozen_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("frozen")
    options = TrainingOptions(phantoms, folder / "run", weights=resnet_weights(folder), device="cpu")
    options.out.mkdir()
    return Run(load_recipe("mask_rcnn"), options)


def norms(run: Run) -> list[nn.BatchNorm2d]:
    return [module for module in run.model.encoder.backbone.modules() if isinstance(module, nn.BatchNorm2d)]  # type: ignore[attr-defined]


def test_batch_norms_that_come_with_imagenets_weights_stay_as_they_are(frozen_run: Run) -> None:
    run = frozen_run
    run.model.train()
    assert len(norms(run)) > 100
    assert not any(norm.training or norm.weight.requires_grad for norm in norms(run))
    trained = {id(weights) for group in run.optimizer.param_groups for weights in group["params"]}
    assert not any(id(norm.weight) in trained for norm in norms(run))
    run.model.per_image(torch.randn(2, 3, 64, 64))
    assert all((norm.running_mean == 0.1).all() for norm in norms(run))  # type: ignore[union-attr]


def test_a_resumed_run_keeps_them_so_and_one_from_scratch_trains_them(frozen_run: Run, tmp_path: Path) -> None:
    frozen_run.save_state()
    again = replace(frozen_run.options, weights=None, resume=True)
    assert Run(frozen_run.recipe, again).model.norms_are_frozen
    from_scratch = replace(frozen_run.options, out=tmp_path, weights=None, from_scratch=True)
    run = Run(frozen_run.recipe, from_scratch)
    run.model.train()
    assert all(norm.training and norm.weight.requires_grad for norm in norms(run))
    run.save_state()
    assert not Run(run.recipe, replace(from_scratch, from_scratch=False, resume=True)).model.norms_are_frozen
