"""training/: one step with clipping, accumulation, weights, mixup, averages, and no memory left."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from batches import Batch
from flags import Config, Fakes, Loss, Model, Optimizer
from networks import Detector
from processes import Processes
from training import step as step_module
from training.loss import class_weights, mixed, training_loss
from training.optimizer import Schedule, make_optimizer
from training.step import NotANumber, Step
from utils import UserError

CPU = Processes(torch.device("cpu"))


def detector(outputs: int = 2, norm: bool = False, seed: int = 0) -> Detector:
    """Eight features and a head, as pictures of 4 px want them."""
    torch.manual_seed(seed)
    features = nn.Sequential(nn.Conv2d(3, 8, 4), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU())
    body = nn.Sequential(features, nn.Flatten(), nn.Linear(8, outputs))
    return Detector(body, [0.5] * 3, [0.2] * 3, features, "random")


def batch(count: int, seed: int = 1, fakes: float = 0.5) -> Batch:
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8))
    labels = torch.from_numpy((np.arange(count) < fakes * count).astype(np.int64))
    return Batch(images, labels, torch.arange(count))


def made(network: Detector, say: Callable[[str], None] = print, weights=None, **config) -> Step:
    settings = Config(**{"optimizer": Optimizer(type="SGD", lr=0.1, momentum=0.0)} | config)
    step = Step(
        network, make_optimizer(network, settings), settings, weights, torch.float32, CPU, say
    )
    step.begin(1)
    return step


def weights_of(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


# ----------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("outputs", [1, 2])
@given(seed=st.integers(0, 99), smoothing=st.floats(0, 0.9))
def test_smoothed_loss_is_cross_entropy_with_spread_labels(outputs, seed, smoothing):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, outputs, generator=random, dtype=torch.float64)
    labels = torch.randint(0, 2, (6,), generator=random)
    both = F.pad(logits, (1, 0)) if outputs == 1 else logits  # a sigmoid is a softmax over (0, x)
    expected = F.cross_entropy(both, labels, label_smoothing=smoothing)
    assert training_loss(logits, labels, smoothing).item() == pytest.approx(expected.item())


def test_the_loss_of_mixed_labels_is_the_mix_of_the_losses():
    logits = torch.randn(5, 2, dtype=torch.float64)
    shares = torch.tensor([0.0, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)
    real, fake = (F.cross_entropy(logits, torch.full((5,), c), reduction="none") for c in (0, 1))
    expected = ((1 - shares) * real + shares * fake).mean()
    assert training_loss(logits, shares).item() == pytest.approx(expected.item())


def test_weights_count_classes():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    alone = [training_loss(logits[i : i + 1], labels[i : i + 1]).item() for i in (0, 1)]
    weighted = training_loss(logits, labels, weights=torch.tensor([1.0, 3.0]))
    assert weighted.item() == pytest.approx((alone[0] + 3 * alone[1]) / 2)


@given(reals=st.integers(1, 50), fakes=st.integers(1, 50), made=st.floats(0, 0.9))
def test_balanced_weights_make_classes_count_alike(reals, fakes, made):
    labels = np.array([0] * reals + [1] * fakes)
    recipe = Fakes(type="warp", probability=made)
    weights = class_weights(labels, Loss(weights="balanced"), recipe).double().numpy()
    seen = np.array([reals * (1 - made), fakes + reals * made])
    assert (weights * seen)[0] == pytest.approx((weights * seen)[1], rel=1e-5)
    assert (weights * seen).sum() == pytest.approx(reals + fakes, rel=1e-5)


def test_no_weights_are_none_and_a_fake_may_count_more():
    labels = np.array([0, 1, 1])
    assert class_weights(labels, Loss(), Fakes()) is None
    # Drawn otherwise than they are: both classes equally often leave nothing to weigh.
    some, cells = np.array([0] * 90 + [1] * 10), np.array([0] * 90 + [1] * 10)
    even = class_weights(some, Loss(weights="balanced"), Fakes(), np.tile(cells, 3), 0.0)
    assert even.tolist() == pytest.approx([1, 1])
    root = class_weights(some, Loss(weights="balanced"), Fakes(), cells, 0.5)
    assert (root[1] / root[0]).item() == pytest.approx(3)
    assert class_weights(labels, Loss(fake_weight=3), Fakes()).tolist() == [1, 3]


@given(alpha=st.floats(0.1, 5), seed=st.integers(0, 99), number=st.integers(0, 9))
def test_mixup_keeps_what_a_sample_mostly_is(alpha, seed, number):
    some = batch(6, seed)
    pictures, shares = mixed(some.images, some.labels, alpha, seed, 1, number)
    again = mixed(some.images, some.labels, alpha, seed, 1, number)
    assert torch.equal(pictures, again[0]) and torch.equal(shares, again[1])
    low, high = some.images.float().amin(0), some.images.float().amax(0)
    assert ((pictures >= low - 1e-3) & (pictures <= high + 1e-3)).all()
    fake = some.labels == 1
    assert (shares[fake] >= 0.5).all() and (shares[~fake] <= 0.5).all()
    # Both are mixed in one proportion: the mean of all is what it was.
    assert pictures.mean().item() == pytest.approx(some.images.float().mean().item(), rel=1e-4)


def test_mixup_is_another_one_in_each_batch_and_epoch():
    some = batch(8)
    first = mixed(some.images, some.labels, 1.0, 0, 1, 0)[0]
    assert not torch.equal(first, mixed(some.images, some.labels, 1.0, 0, 1, 1)[0])
    assert not torch.equal(first, mixed(some.images, some.labels, 1.0, 0, 2, 0)[0])


# ----------------------------------------------------------------------------------- step


def test_accumulated_batches_are_one_batch():
    whole, parts = detector(), detector()
    both = batch(12)
    halves = [
        Batch(both.images[s], both.labels[s], both.rows[s]) for s in (slice(0, 4), slice(4, 12))
    ]
    one = made(whole)([both], 0)
    other = made(parts)(halves, 0)
    assert torch.allclose(weights_of(whole), weights_of(parts), atol=1e-6)
    assert torch.allclose(one, other)


def test_a_long_gradient_is_scaled_down_to_the_norm():
    network, free = detector(), detector()
    start = weights_of(network)
    made(network, optimizer=Optimizer(type="SGD", lr=1.0, momentum=0, weight_decay=0,
                                      clip_norm=0.01))([batch(8)], 0)  # fmt: skip
    made(free, optimizer=Optimizer(type="SGD", lr=1.0, momentum=0, weight_decay=0))([batch(8)], 0)
    taken, wanted = weights_of(network) - start, weights_of(free) - start
    assert taken.norm().item() == pytest.approx(0.01, rel=1e-3) and wanted.norm() > 0.02
    assert torch.allclose(taken / taken.norm(), wanted / wanted.norm(), atol=1e-4)


def test_a_linear_schedule_holds_and_then_falls_to_its_lowest():
    settings = Config(
        optimizer=Optimizer(type="SGD", lr=0.4),
        scheduler={"type": "linear", "hold": 0.5, "min_lr": 0.1},
        num_epochs=4,
    )
    schedule = Schedule(make_optimizer(detector(), settings), settings, steps=2)
    rates = []
    for _ in range(9):
        rates.append(schedule.lr)
        schedule.optimizer.step()
        schedule.after_batch()
    assert rates == pytest.approx([0.4] * 5 + [0.325, 0.25, 0.175, 0.1])


def test_a_batch_of_one_is_left_out_and_the_others_count():
    network = detector(norm=True)
    start = weights_of(network)
    step = made(network)
    assert step([batch(1)], 0) is None
    assert torch.equal(weights_of(network), start)
    sums = step([batch(1), batch(4)], 0)
    assert int(sums[1:].sum()) == 4


@pytest.mark.parametrize("norm", [False, True])
def test_frozen_features_stay_and_the_head_learns(norm):
    network = detector(norm=norm)
    features = copy.deepcopy(network.backbone[0].state_dict())
    head = network.backbone[2].weight.detach().clone()
    step = made(network, model=Model(freeze_epochs=1))
    step([batch(8)], 0)
    for key, value in network.backbone[0].state_dict().items():
        assert torch.equal(value, features[key]), key
    assert not torch.equal(network.backbone[2].weight, head)
    step.begin(2)
    step([batch(8)], 0)
    assert not torch.equal(network.backbone[0][0].weight, features["0.weight"])
    assert network.backbone[0].training


def test_norms_and_the_head_learn_alone_also_after_frozen_epochs():
    network = detector(norm=True)
    before = copy.deepcopy(network.state_dict())
    step = made(network, model=Model(learns="norms", freeze_epochs=1), batch_size=8)
    for epoch in (1, 2, 3):
        step.begin(epoch)
        step([batch(8)], 0)
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    convolution = {"backbone.0.0.weight", "backbone.0.0.bias"}
    assert not moved & convolution
    assert moved >= {"backbone.0.1.weight", "backbone.0.1.bias", "backbone.2.weight"}


def test_the_moving_average_follows_and_is_what_is_tested():
    network = detector(norm=True)
    step = made(network, model=Model(ema=0.9))
    seen = []
    for number in range(4):
        step([batch(8, number)], number)
        seen.append(weights_of(network))
    average = weights_of(step.evaluated)
    assert step.evaluated is not network and not torch.equal(average, seen[-1])
    low, high = torch.stack(seen).amin(0), torch.stack(seen).amax(0)
    assert ((average >= low - 1e-6) & (average <= high + 1e-6)).all()
    assert not step.evaluated.training


def test_a_loss_that_is_no_number_is_noticed_at_once():
    network = detector()
    with torch.no_grad():
        network.backbone[2].bias.fill_(float("nan"))
    with pytest.raises(NotANumber):
        made(network)([batch(8)], 0)


class Small:
    """A memory in which a pass of more than `limit` samples fails, as an allocator does."""

    def __init__(self, network: Detector, limit: int) -> None:
        self.seen: list[int] = []
        network.register_forward_pre_hook(self._look)
        self.limit = limit

    def _look(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.seen.append(len(inputs[0]))
        if len(inputs[0]) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(("limit", "parts"), [(8, 2), (4, 4), (2, 8)])
def test_without_memory_the_batch_passes_in_parts_and_the_step_is_the_same(limit, parts):
    free, tight = detector(), detector()
    memory, said = Small(tight, limit), []
    one = made(free)([batch(16)], 0)
    step = made(tight, said.append)
    other = step([batch(16)], 0)
    assert torch.allclose(weights_of(free), weights_of(tight), atol=1e-6)
    assert torch.allclose(one, other)
    assert step.parts == parts and max(memory.seen[-parts:]) == limit
    assert len(said) == parts.bit_length() - 1 and f"{parts} parts of {limit}" in said[-1]
    step([batch(16, 2)], 1)
    assert len(said) == parts.bit_length() - 1  # it stays as it is


def test_no_part_is_a_single_picture():
    network = detector()
    memory = Small(network, 4)
    made(network)([batch(13)], 0)
    assert min(memory.seen) >= 2 and sum(memory.seen[-4:]) == 13


def test_after_three_halvings_it_ends_and_says_what_to_change():
    network = detector()
    Small(network, 1)
    with pytest.raises(UserError, match=r"out of memory with \d+ samples(.|\n)*smaller network"):
        made(network)([batch(64)], 0)


def test_other_errors_of_the_network_are_no_lack_of_memory():
    network = detector()

    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="mat1"):
        made(network)([batch(8)], 0)
    assert step_module.is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
    )


def test_a_compiled_network_takes_the_same_step(tmp_path, monkeypatch):
    pytest.importorskip("torch._inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, fast = detector(), detector()
    made(plain)([batch(8)], 0)
    try:
        made(fast, model=Model(compile=True))([batch(8)], 0)
    except Exception as error:
        if "compiler" in str(error).lower():
            pytest.skip(f"no C++ compiler here: {error}")
        raise
    assert torch.allclose(weights_of(plain), weights_of(fast), atol=1e-5)
