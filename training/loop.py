"""One training loop for every recipe."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.mining import MINERS
from napari_uld.detectors.specs.recipe import Recipe
from napari_uld.errors import TrainingError
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector, initialise, save_checkpoint
from napari_uld.inference.device import mixed_precision, pick_device, place
from napari_uld.lesions.annotations import Source
from napari_uld.progress import Progress, Work

from .cores import worker_count
from .data.lesion_free import MixedBatches, batches_of
from .data.sets import lesions_by_source, training_set, validation_set
from .data.slab_dataset import SlabDataset
from .evaluate import evaluate_detector
from .imagenet import take_imagenet
from .miners.miner import Miner
from .run_files import (
    CHECKPOINT,
    LOG,
    STATE,
    add_to_log,
    check_room,
    read_state,
    require_images,
    resumed_sources,
    save_state,
    writing,
)
from .schedule import Schedule, learning_rate, make_optimizer, monitored, set_rate

LOG_EVERY = 10


@dataclass(frozen=True)
class TrainingOptions:
    """What a run is told beside its recipe.

    Parameters
    ----------
    data
        Folder in DeepLesion's layout.
    out
        Folder for the checkpoint, the resuming state and the log.
    init
        Checkpoint to take over weights from.
    weights
        File of ImageNet's weights, instead of torchvision's cache.
    from_scratch
        Begin with random weights, whatever the recipe says.
    resume
        Go on where a run in `out` stopped, after its last finished epoch.
    sources
        Where the lesions that are trained on shall come from, see `read_split`; None for all that the table lists, and
        for those of the run that is resumed.
    """

    data: Path
    out: Path
    init: Path | None = None
    weights: Path | None = None
    from_scratch: bool = False
    resume: bool = False
    device: str = "auto"
    seed: int = 0
    sources: tuple[Source, ...] | None = None


class Run:
    """The state of one training run.

    Parameters
    ----------
    recipe
        What is trained.
    options
        On what, to where.

    Raises
    ------
    TrainingError
        If a run that is to be resumed is not there, or trained another recipe or seed; or weights are missing.
    """

    def __init__(self, recipe: Recipe, options: TrainingOptions) -> None:
        self.recipe = recipe
        self.options = options
        self.data, self.out, self.seed = options.data, options.out, options.seed
        self.device = pick_device(options.device)
        state = read_state(self.out / STATE, recipe, self.seed) if options.resume else None
        self.sources = options.sources if state is None else resumed_sources(self.out / STATE, state, options.sources)
        # Data first: what is wrong with them is said before anything slow happens.
        self.train_set, of_train = training_set(options.data, recipe, options.seed, self.sources)
        # A miner may add images of its own.
        self.images = len(self.train_set)
        self.val_set, of_val = validation_set(options.data, recipe)
        if state is not None:
            require_images(self.out / STATE, state, self.images)
        torch.manual_seed(options.seed)
        self.model = build_detector(recipe)
        self.notes = [*filter(None, (of_train, of_val)), *self._initial_weights()]
        pretrained = recipe.detector.pretrained == "imagenet" and not options.from_scratch
        if pretrained if state is None else state.get("norms_are_frozen", False):
            self.model.freeze_norms()
        place(self.model, self.device)
        self.optimizer = make_optimizer(self.model, recipe.training)
        self.scaler = torch.amp.GradScaler(enabled=self.device.type == "cuda")
        self.epoch = 0
        self.step = 0
        self.schedule = Schedule()
        miner = MINERS[recipe.mining.miner].miner
        self.miner: Miner = (resolve_name(miner) if isinstance(miner, str) else miner)(recipe.mining, self)
        if state is not None:
            self._take(state)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        spec = self.recipe.training
        return batches_of(len(self.shown), spec.batch, spec.lesion_free)

    @property
    def shown(self) -> list[int]:
        """Indices of the training images of this epoch, beside those of `free`."""
        return self.train_set.of_epoch() if isinstance(self.train_set, SlabDataset) else [*range(len(self.train_set))]

    @property
    def free(self) -> range:
        """Indices of the training images that show no lesion."""
        return self.train_set.free if isinstance(self.train_set, SlabDataset) else range(0)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        spec = self.recipe.training
        return spec.epochs * self.steps_per_epoch if spec.steps is None else spec.steps

    @property
    def epochs(self) -> int:
        """Epochs of the whole run; where it is given in steps the last one may be a part."""
        return math.ceil(self.steps / self.steps_per_epoch)

    @property
    def stopped_early(self) -> bool:
        """Whether the recipe's patience is used up."""
        patience = self.recipe.training.patience
        return patience is not None and self.epoch - self.schedule.best_epoch >= patience

    def _initial_weights(self) -> list[str]:
        wants_imagenet = self.recipe.detector.pretrained == "imagenet" and self.recipe.method.init == "none"
        if self.options.weights is not None and (self.options.init or self.options.from_scratch or not wants_imagenet):
            raise TrainingError("--weights is for recipes that begin with ImageNet's: this training does not")
        if self.recipe.rescorer is not None and self.options.init is None and not self.options.resume:
            raise TrainingError("A rescorer looks at what a trained detector finds: give its checkpoint with --init")
        if self.options.init is not None:
            missing = initialise(self.model, self.options.init)
            return [f"no weights in {self.options.init.name} for: {', '.join(missing) or 'nothing'}"]
        # What is resumed has its weights.
        if self.options.from_scratch or self.options.resume:
            return []
        if self.recipe.method.init != "none":
            raise TrainingError(
                f"{self.recipe.method.name} starts from a trained {self.recipe.method.init}: give its checkpoint with "
                "--init, or train with --from-scratch"
            )
        if wants_imagenet:
            taken = take_imagenet(self.model.encoder.backbone, self.options.weights)
            return [f"weights of ImageNet from {taken}"]
        return []

    def detector(self) -> LoadedDetector:
        """The network that is kept, as it is now, ready to detect; boxes are all that a validation asks for."""
        model = self.miner.kept
        model.eval()
        model.predicts_maps = False
        info = CheckpointInfo(self.out / CHECKPOINT, "", self.recipe.model_dump(mode="json"), {})
        return LoadedDetector(model, self.recipe.input, info, self.device)

    def save_state(self) -> None:
        """Write what resuming needs, all at once or not at all.

        Raises
        ------
        TrainingError
            If the disk does not take it.
        """
        state = {
            "recipe": self.recipe.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "best": self.schedule.best,
            "best_epoch": self.schedule.best_epoch,
            "drops": self.schedule.drops,
            "seed": self.seed,
            "images": self.images,
            "sources": None if self.sources is None else list(map(str, self.sources)),
            "miner": self.miner.state(),
            "norms_are_frozen": self.model.norms_are_frozen,
            "abm_in_mm": True,
        }
        save_state(self.out / STATE, state)

    def _take(self, state: dict[str, Any]) -> None:
        """Take up a stopped run."""
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            # A run on a CPU scales nothing.
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.step = state["epoch"], state["step"]
            self.schedule = Schedule(state["best"], state["best_epoch"], state["drops"])
            self.miner.load(state["miner"])
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise TrainingError(
                f"{self.out / STATE} is damaged: it does not fit its own recipe; begin again in another folder"
            ) from error

    def log(self, **row: Any) -> None:
        """Append a row to the log."""
        add_to_log(self.out / LOG, row)


def train(recipe: Recipe, options: TrainingOptions) -> Work[Path]:
    """Train a recipe; the best epoch by what it monitors on the validation split is kept.

    Yields progress after every step; closing the generator stops the run, which can be resumed
    after its last finished epoch.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    TrainingError
        If the loss is not finite, a run cannot be resumed or begun where one is, or the disk takes no more.
    """
    with writing(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    if not options.resume and (options.out / STATE).exists():
        raise TrainingError(f"{options.out} holds a run already: --resume goes on with it, or give another folder")
    run = Run(recipe, options)
    if not options.resume:
        (options.out / LOG).unlink(missing_ok=True)
        run.save_state()
        check_room(options.out)
    yield from run.miner.before_training()
    run.log(
        event="start",
        recipe=recipe.method.name,
        images=len(run.train_set),
        lesions=lesions_by_source(run.train_set),
        seed=options.seed,
        notes=run.notes,
    )
    yield Progress(run.step, run.steps, "; ".join(run.notes) or "Training")
    while run.epoch < run.epochs and not run.stopped_early:
        yield from _epoch(run)
        run.epoch += 1
        if run.epoch % recipe.training.validate_every == 0 or run.epoch == run.epochs:
            yield from _validate(run)
        yield from run.miner.after_epoch()
        run.save_state()
        if run.stopped_early:
            run.log(event="early stop", epoch=run.epoch, best_epoch=run.schedule.best_epoch)
    return options.out / CHECKPOINT


def _epoch(run: Run) -> Work[None]:
    """One pass over the training images."""
    spec = run.recipe.training
    # Seeded by epoch: a resumed run draws what an uninterrupted one would.
    torch.manual_seed(run.seed * 1_000_003 + run.epoch)
    run.train_set.epoch = run.epoch
    run.model.train()
    total, started, first = run.steps, time.monotonic(), run.step
    for images, targets in itertools.islice(_loader(run), total - first):
        rate = learning_rate(spec, run.epoch, run.step, run.schedule.drops)
        losses = _step(run, images, targets, rate)
        run.step += 1
        seconds = (time.monotonic() - started) / (run.step - first)
        summed = sum(losses.values())
        if not math.isfinite(summed):
            raise TrainingError(
                f"The loss is {summed} at step {run.step} ({_listed(losses)}): "
                f"a lower learning rate than {rate:g} may help"
            )
        if run.step % LOG_EVERY == 0:
            run.log(
                event="step",
                step=run.step,
                epoch=run.epoch,
                lr=rate,
                losses=losses,
                positives=run.model.diagnostics(),
                seconds=round(seconds, 4),
            )
        left = seconds * (total - run.step)
        yield Progress(
            run.step, total, f"Epoch {run.epoch + 1} of {run.epochs}, loss {summed:.3f}, {_clock(left)} left"
        )


def _step(run: Run, images: list[Tensor], targets: list[dict[str, Tensor]], rate: float) -> dict[str, float]:
    """One optimizer step; gives the losses by name."""
    set_rate(run.optimizer, rate)
    images = [image.to(run.device, non_blocking=True) for image in images]
    targets = [{k: v.to(run.device, non_blocking=True) for k, v in target.items()} for target in targets]
    images, targets = run.miner.before_step(images, targets)
    thickness = torch.stack([target["thickness"] for target in targets])
    with mixed_precision(run.device):
        losses = run.model(images, targets, thickness=thickness)
        loss = sum(losses.values())
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.training.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.miner.after_step()
    return {name: round(float(value.detach()), 5) for name, value in losses.items()}


def _validate(run: Run) -> Work[None]:
    """Score the epoch, and keep it if it is the best so far."""
    evaluation = yield from evaluate_detector(run.detector(), run.val_set)
    result, counted = evaluation.to_dict(), "image"
    if isinstance(run.val_set, list):
        # Whoever reads "per image" would take these for a slice's.
        counted, result = "scan", {key.replace("per_image", "per_scan"): value for key, value in result.items()}
    spec, drops = run.recipe.training, run.schedule.drops
    name, value = monitored(evaluation, spec, counted)
    if run.schedule.take(value, run.epoch, spec):
        kept = result | {"data": "validation split", "epoch": run.epoch, "monitored": name}
        with writing(run.out / CHECKPOINT):
            save_checkpoint(run.out / CHECKPOINT, run.miner.kept, run.recipe.model_dump(mode="json"), kept)
    watched = {"monitored": name, "value": round(value, 4), "drops": run.schedule.drops}
    run.log(event="validation", epoch=run.epoch, **result, **watched)
    message = f"Epoch {run.epoch}: {name} {value:.3f}"
    if run.schedule.drops > drops and not run.stopped_early:
        message += ", no gain: the learning rate falls to a tenth"
    yield Progress(run.step, run.steps, message)


def _loader(run: Run) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Batches in this epoch's order; loaders of their own only where a GPU would wait for them."""
    order = torch.Generator().manual_seed(run.seed * 1_000_003 + run.epoch)
    on_gpu, spec = run.device.type == "cuda", run.recipe.training
    if run.free:
        mixed = MixedBatches(run.shown, list(run.free), batch=spec.batch, share=spec.lesion_free, generator=order)
        drawn: dict[str, Any] = {"dataset": run.train_set, "batch_sampler": mixed}
    else:
        drawn = {"dataset": Subset(run.train_set, run.shown), "batch_size": spec.batch, "shuffle": True}
    return iter(
        DataLoader(
            **drawn,
            generator=order,
            collate_fn=_collate,
            # One core feeds the GPU.
            num_workers=min(8, worker_count() - 1) if on_gpu else 0,
            pin_memory=on_gpu,
        )
    )


def _collate(
    batch: list[tuple[Tensor, dict[str, Tensor]]],
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images, targets = zip(*batch, strict=True)
    return list(images), list(targets)


def _listed(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in losses.items())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
