"""Several processes, one run: what `torchrun` starts works as one training or one test.

Each process holds the whole network and works on its share of each batch. One of them, the first,
writes files, talks to the console and to the trackers; alone, a process is the first of one.
"""

import datetime
import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import utils
from utils import UserError

PATIENCE = datetime.timedelta(hours=24)
"""How long processes wait for one another: the first may search a million pictures for faces. One
that dies is noticed by torchrun at once, whatever this says."""


class Processes:
    """The processes of this run, from the place of one of them.

    rank: 0 for the first. world: how many there are. device: where this one computes.
    """

    def __init__(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        self.device, self.rank, self.world = device, rank, world
        self.first = rank == 0

    def share(self, batch: np.ndarray) -> np.ndarray:
        """This process's part of a batch that all of them know."""
        return batch[self.rank :: self.world]

    def check_batch(self, batch_size: int) -> None:
        """Raise UserError where a process would get fewer than the two samples of batch norm."""
        if batch_size < 2 * self.world:
            raise UserError(
                f"batch_size {batch_size} is for all {self.world} processes together, and each "
                f"needs two samples: set it to {2 * self.world} or more"
            )

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in the order of their ranks; every process must call it."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        _together(lambda: dist.all_gather_object(values, value))
        return values

    def gather_numbers(self, *numbers: int) -> list[tuple[int, ...]]:
        """As `gather`, for a few whole numbers: cheap enough for each step."""
        if self.world == 1:
            return [numbers]
        mine = torch.tensor(numbers, dtype=torch.int64)
        all_of_them = [torch.empty_like(mine) for _ in range(self.world)]
        _together(lambda: dist.all_gather(all_of_them, mine))
        return [tuple(one.tolist()) for one in all_of_them]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, on the CPU."""
        values = values.cpu().clone()  # the sum is written into it
        if self.world > 1:
            _together(lambda: dist.all_reduce(values))
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather_numbers(0)

    def first_then_others(self, work: Callable[[], Any]) -> Any:
        """The first does it, then the others, which find what it left (a cache, a download)."""
        if not self.first:
            self.wait()
        result = work()
        if self.first:
            self.wait()
        return result

    def same_buffers(self, network: nn.Module) -> None:
        """Give every process the first one's buffers: batch norm's statistics are each its own."""
        if self.world > 1:
            for buffer in network.buffers():
                _together(partial(dist.broadcast, buffer, 0))

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are averaged over the processes (PyTorch's DDP)."""
        if self.world == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        # Buffers are evened out once an epoch, before validation, and not at each step.
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return DistributedDataParallel(network, device_ids=devices, **{name: False})  # type: ignore[arg-type]

    def close(self) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join(device: str) -> Processes:
    """This process's place among those that torchrun started; alone without torchrun.

    device: as `utils.pick_device` takes it; `auto` and `cuda` mean each process its own GPU.
    """
    world, rank = (int(os.environ.get(name, default)) for name, default in _PLACE)
    if world == 1:
        return Processes(utils.pick_device(device))
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = os.environ["LOCAL_RANK"]
    elif device not in ("auto", "cpu"):
        raise UserError(
            f"device {device}: torchrun starts {world} processes, each with a device of its own: "
            "leave device at auto and choose GPUs by CUDA_VISIBLE_DEVICES=0,1"
        )
    chosen = utils.pick_device(device)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group(backend, timeout=PATIENCE)
    return Processes(chosen, rank, world)


_PLACE = (("WORLD_SIZE", "1"), ("RANK", "0"))


def _together(call: Callable[[], Any]) -> None:
    try:
        call()
    except RuntimeError as error:  # gloo: the connection of a process that ended is closed
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"another process of this run ended; its own error stands above or below ({reason})"
        ) from None
