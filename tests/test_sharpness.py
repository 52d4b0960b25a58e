"""Sharpness-aware minimisation: the step by hand, and that nothing of the detour stays."""

import copy

import pytest
import torch
from torch import nn

from flags import Optimizer
from tests.test_step import batch, detector, made, weights_of
from training.sharpness import uphill


def test_the_step_is_the_one_of_algorithm_1_by_hand():
    # loss = w . A w / 2 with the gradient A w, plain descent of rate 0.1.
    curve = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    network = nn.Linear(2, 1, bias=False)
    start = network.weight.detach().clone()[0]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def backward() -> None:
        optimizer.zero_grad()
        (network.weight[0] @ curve @ network.weight[0] / 2).backward()

    backward()
    with uphill(network, 0.05):
        backward()
    optimizer.step()
    first = curve @ start
    worst = start + 0.05 * first / first.norm()
    assert torch.allclose(network.weight[0], start - 0.1 * (curve @ worst), atol=1e-6)


@pytest.mark.parametrize("settings", [{"type": "SGD"}, {"type": "AdamW"}, {"clip_norm": 0.01}])
def test_a_step_uses_the_second_gradient_whatever_the_optimiser(settings):
    options = {"type": "SGD", "lr": 0.1, "momentum": 0.9} | settings
    network, plain = detector(), detector()
    step = made(network, optimizer=Optimizer(sam_rho=0.5, **options))
    reference = made(plain, optimizer=Optimizer(**options))
    both = batch(8)
    sums, expected = step([both], 0), reference._gradients([both], [0], 0, 8)
    assert torch.equal(sums, expected)  # of the weights as they are, not of the detour
    before = copy.deepcopy(plain.state_dict())
    grads = [p.grad.clone() for p in plain.parameters()]
    length = torch.cat([g.flatten() for g in grads]).norm()
    with torch.no_grad():
        for weight, grad in zip(plain.parameters(), grads, strict=True):
            weight += 0.5 * grad / length
    reference._gradients([both], [0], 0, 8)
    plain.load_state_dict(before)
    reference._update()
    assert torch.allclose(weights_of(network), weights_of(plain), atol=1e-6)


def test_a_radius_of_nothing_is_the_plain_step_to_the_bit():
    network, plain = detector(norm=True), detector(norm=True)
    made(network, optimizer=Optimizer(type="SGD", lr=0.1, sam_rho=1e-30))([batch(8)], 0)
    made(plain, optimizer=Optimizer(type="SGD", lr=0.1))([batch(8)], 0)
    assert torch.equal(weights_of(network), weights_of(plain))
    for name, value in plain.named_buffers():
        if "running" in name:  # batch norm saw the batch once
            assert torch.equal(value, dict(network.named_buffers())[name])


def test_the_weights_come_back_even_from_an_error_and_from_infinity():
    network = detector(norm=True)
    network(batch(4).images).sum().backward()
    start = weights_of(network).clone()
    with pytest.raises(ZeroDivisionError), uphill(network, 0.1):
        assert not torch.equal(weights_of(network), start)
        raise ZeroDivisionError
    assert torch.equal(weights_of(network), start)
    next(network.parameters()).grad.fill_(torch.inf)
    with uphill(network, 0.1):
        assert not torch.isfinite(weights_of(network)).all()
    assert torch.equal(weights_of(network), start)
    assert [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)] == [0.1]


def test_frozen_weights_are_not_moved():
    network = detector()
    network.freeze_features(True)
    network(batch(4).images).sum().backward()
    kept = [p.clone() for p in network.parameters() if not p.requires_grad]
    assert kept
    with uphill(network, 0.1):
        now = [p for p in network.parameters() if not p.requires_grad]
        assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))


def test_accumulated_batches_take_one_detour():
    both = batch(12)
    halves = [type(both)(both.images[s], both.labels[s], both.rows[s])
              for s in (slice(0, 4), slice(4, 12))]  # fmt: skip
    whole, parts = detector(), detector()
    for network, batches in ((whole, [both]), (parts, halves)):
        made(network, optimizer=Optimizer(type="SGD", lr=0.1, sam_rho=0.3))(batches, 0)
    assert torch.allclose(weights_of(whole), weights_of(parts), atol=1e-6)


def test_a_gradient_that_is_not_finite_leaves_the_statistics_as_they_were():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    network(torch.randn(8, 3)).sum().backward()
    network[0].weight.grad[0, 0] = torch.inf  # float16 meets it, and takes a smaller scale next
    before = copy.deepcopy(network.state_dict())
    with uphill(network, 0.05):
        assert not torch.isfinite(network(torch.randn(8, 3))).all()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
