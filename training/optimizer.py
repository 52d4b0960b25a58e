"""Optimiser and learning-rate schedule from their sections of the configuration."""

from typing import Any

import numpy as np
import torch

from flags import Config


def make_optimizer(network: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
    settings = config.optimizer
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.type in ("SGD", "RMSprop"):
        options["momentum"] = settings.momentum
    return getattr(torch.optim, settings.type)(network.parameters(), **options)


BY_BATCH = ("cosine", "linear")
"""Schedules that move with each batch."""


class Schedule:
    """The learning-rate schedule: cosine and linear move with each batch, others each epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: Config, steps: int) -> None:
        self.optimizer = optimizer
        self.type = config.scheduler.type
        self.scheduler = _make_scheduler(optimizer, config, steps)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_batch(self) -> None:
        if self.type in BY_BATCH:
            self.scheduler.step()

    def after_epoch(self, badness: float) -> None:
        """badness: what a plateau looks at, lower is better."""
        if self.type == "plateau":
            self.scheduler.step(badness)
        elif self.type not in BY_BATCH:
            self.scheduler.step()

    def scale(self, factor: float) -> None:
        """Make this and all later learning rates smaller, as after a loss that ran away."""
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
            group["initial_lr"] = group.get("initial_lr", group["lr"]) * factor
        if hasattr(self.scheduler, "base_lrs"):
            self.scheduler.base_lrs = [lr * factor for lr in self.scheduler.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state)


def _make_scheduler(optimizer: torch.optim.Optimizer, config: Config, steps: int) -> Any:
    settings = config.scheduler
    if settings.type == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, settings.step_size, settings.gamma)
    if settings.type == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=settings.gamma,
            patience=settings.patience,
            threshold_mode="abs",  # AUC comes as -AUC, of which a part less would be more
            min_lr=settings.min_lr,
        )
    if settings.type == "none":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    warmup, total = settings.warmup_epochs * steps, config.num_epochs * steps
    lowest = settings.min_lr / config.optimizer.lr

    def falling(step: int) -> float:
        part = (step / max(1, total) - settings.hold) / max(1e-12, 1 - settings.hold)
        return 1 - (1 - lowest) * min(max(part, 0.0), 1.0)

    if settings.type == "linear":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, falling)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        part = (step - warmup) / max(1, total - warmup)
        return lowest + (1 - lowest) * 0.5 * (1 + float(np.cos(np.pi * min(part, 1.0))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
