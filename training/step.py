"""Batches -> gradients -> one step of the optimiser, with all that the settings ask for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from timm.utils import ModelEmaV3
from torch import nn

import metrics
from batches import Batch
from flags import Config
from networks import Detector
from processes import Processes
from scores import autocast, to_device
from training.loss import mixed, training_loss
from training.sharpness import uphill
from utils import UserError

MOST_PARTS = 8
"""A batch is halved three times at most before we give up on the memory."""

LOOK = 20
"""A GPU is asked each so many steps whether the loss is a number: asking makes it wait."""


Piece = tuple[torch.Tensor, torch.Tensor, bool]


class NotANumber(Exception):
    """The loss is not a number any more."""


class Step:
    """What happens between two states of the weights.

    Call it with the batches of one step (`optimizer.accumulate` of them): it returns their sums.
    `evaluated` is the network whose scores count: its moving average, where that is on.
    """

    def __init__(
        self,
        network: Detector,
        optimizer: torch.optim.Optimizer,
        config: Config,
        weights: torch.Tensor | None,
        precision: torch.dtype,
        processes: Processes,
        say: Callable[[str], None],
    ) -> None:
        self.network, self.optimizer, self.config = network, optimizer, config
        self.precision, self.processes, self.say = precision, processes, say
        self.device = processes.device
        self.weights = None if weights is None else weights.to(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == torch.float16)
        network.tta = config.tta or "none"  # before it is copied: all are scored alike
        decay = config.model.ema
        self.average = ModelEmaV3(network, decay, use_warmup=True) if decay else None
        self.parts = 1
        self.steps = 0
        self.epoch = 0
        self._frozen: bool | None = None

    @property
    def evaluated(self) -> Detector:
        return self.average.module if self.average else self.network

    def begin(self, epoch: int) -> None:
        """Set the network up for an epoch: what learns in it, and what wraps it."""
        self.epoch = epoch
        frozen = epoch <= self.config.model.freeze_epochs
        self.network.train()
        if frozen or self._frozen:
            self.network.freeze_features(frozen)
        if not frozen and self.config.model.learns == "norms":
            self.network.freeze_all_but_norms()
        if frozen != self._frozen:
            self.model: nn.Module = self.processes.wrap(self.network)
            if self.config.model.compile:
                self.model = torch.compile(self.model)  # type: ignore[assignment]
            self._frozen = frozen

    def __call__(self, batches: Sequence[Batch], number: int) -> torch.Tensor | None:
        """One step on `batches`, the first of which is batch `number` of its epoch.

        Returns their sums, as batch_sums, or None where too few samples were left. Raises
        NotANumber, and UserError where the memory does not suffice.
        """
        counts = self.processes.gather_numbers(*(len(batch) for batch in batches))
        # Batch norm has no statistics of one; all processes leave out the same batches.
        used = [i for i in range(len(batches)) if min(count[i] for count in counts) > 1]
        if not used:
            return None
        total = sum(c[i] for c in counts for i in used)
        sums = self._gradients(batches, used, number, total)
        if rho := self.config.optimizer.sam_rho:
            with uphill(self.network, rho):
                self._gradients(batches, used, number, total)
        self._update()
        self.steps += 1
        if self.average:
            self.average.update(self.network, step=self.steps)
        if self.device.type == "cpu" or self.steps % LOOK == 0:
            self.check(sums)
        return sums

    def check(self, sums: torch.Tensor) -> None:
        """Raise NotANumber, in every process alike, where a loss is not a number in one."""
        bad = int(not torch.isfinite(sums[0]))
        if any(one[0] for one in self.processes.gather_numbers(bad)):
            raise NotANumber("the training loss is not a number")

    # ------------------------------------------------------------------------ small pieces

    def _gradients(
        self, batches: Sequence[Batch], used: Sequence[int], number: int, total: int
    ) -> torch.Tensor:
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            sums = torch.zeros(5, dtype=sum_type(self.device), device=self.device)
            try:
                for i in used:
                    last = i == used[-1]
                    for images, labels, end in self._pieces(batches[i], number + i):
                        sums += self._backward(images, labels, total, sync=last and end)
                return sums
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            # Outside the handler: its traceback would hold on to the tensors.
            self._halve(reason, max(len(batches[i]) for i in used))

    def _pieces(self, batch: Batch, number: int) -> Iterator[Piece]:
        """Pictures and labels that pass the network at once, and whether they are the last."""
        images = to_device(batch.images, self.device, self.config.channels_last)
        labels = batch.labels.to(self.device, non_blocking=True)
        if alpha := self.config.loss.mixup:
            place = number * self.processes.world + self.processes.rank
            images, labels = mixed(images, labels, alpha, self.config.seed, self.epoch, place)
        parts = min(self.parts, max(1, len(labels) // 2))
        # Not chunk, whose last part may be a single picture: a batch norm of one is none.
        chunks = list(zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True))
        for count, (some, theirs) in enumerate(chunks, 1):
            yield some, theirs, count == len(chunks)

    def _backward(
        self, images: torch.Tensor, labels: torch.Tensor, total: int, sync: bool
    ) -> torch.Tensor:
        alone = not sync and self.processes.world > 1
        # Of DDP the forward pass decides whether the backward one will wait for the others.
        with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with autocast(self.device, self.precision):
                logits = self.model(images)
            smoothing = self.config.loss.label_smoothing
            loss = training_loss(logits.float(), labels, smoothing, self.weights)
            # DDP takes the mean over processes; this makes it the mean over all samples.
            share = len(labels) * self.processes.world / total
            self.scaler.scale(loss * share if share != 1 else loss).backward()
        return batch_sums(loss, logits, labels)

    def _update(self) -> None:
        if limit := self.config.optimizer.clip_norm:
            self.scaler.unscale_(self.optimizer)
            learning = [p for p in self.network.parameters() if p.requires_grad]
            nn.utils.clip_grad_norm_(learning, limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _halve(self, reason: str, size: int) -> None:
        if self.processes.world > 1:
            raise UserError(
                f"out of memory ({_short(reason)}); one of several processes cannot halve its "
                "batch alone: set optimizer.accumulate to 2 and batch_size to a half"
            )
        if self.parts == MOST_PARTS or size < 4 * self.parts:
            raise UserError(
                f"out of memory with {-(-size // self.parts)} samples at a time "
                f"({_short(reason)}): choose a smaller network or input_size"
            )
        self.parts *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.say(
            f"Out of memory: batches now pass in {self.parts} parts of {-(-size // self.parts)} "
            "samples; a step still sees the whole batch (batch norm sees the parts)"
        )


def batch_sums(loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[loss, tp, fp, fn, tn] summed over a batch, so that an epoch is averaged over samples."""
    logits, dtype = logits.detach(), sum_type(logits.device)
    called = logits[:, 0] > 0 if logits.shape[1] == 1 else logits[:, 1] > logits[:, 0]
    fake = labels > 0.5 if labels.is_floating_point() else labels == metrics.FAKE
    parts = (called & fake, called & ~fake, ~called & fake, ~called & ~fake)
    counts = [part.sum().to(dtype) for part in parts]
    return torch.stack([loss.detach().to(dtype) * len(labels), *counts])


def sum_type(device: torch.device) -> torch.dtype:
    """The type of an epoch's sums: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the CPU's allocator, had no memory left."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _short(reason: str) -> str:
    return " ".join(reason.split())[:160]
