"""Sums over processes: their values, and the gradients that a single process would have."""

import pytest
import torch
from torch import Tensor

from gnet.distributed import SharedBatchNorm, gathered, num_processes, shared, summed, this_process, total_of, whole_mean
from gnet.nn import NodeBatchNorm
from tests.distributed.team import Failed, Team

TOTALS, COUNTS = (12.0, 1.0), (3, 1)  # a mean of 4 and one of 1; of the whole 13 / 4


def describe(rank: int) -> tuple[int, int]:
    return this_process(), num_processes()


def complain(rank: int) -> None:
    if rank == 1:
        raise ValueError("one of us")


def test_each_process_knows_its_number(two: Team):
    assert two.run(describe) == [(0, 2), (1, 2)]


def test_a_process_that_fails_is_heard(two: Team):
    with pytest.raises(Failed, match="process 1: ValueError: one of us"):
        two.run(complain)


def gradients_of_sums(rank: int) -> tuple[float, float, float, float]:
    """d/dx of w_r (sum of x)^2 in three ways, where w is the process's own weight, and of a shared number."""
    x = torch.tensor(float(rank + 1), requires_grad=True)
    weight, found = float(rank + 2), []
    for total in (summed(x), total_of(x)):
        (grad,) = torch.autograd.grad(weight * total.square(), x)
        found.append(float(grad))
    number = torch.tensor(5.0, requires_grad=True)
    (grad,) = torch.autograd.grad(weight * shared([number])[0] ** 2, number)
    return float(summed(x.detach())), *found, float(grad)


def test_values_and_gradients_of_sums(two: Team):
    # The sum is 3. summed: 2 w_r 3; total_of: the sum over processes of that, 6 (2 + 3); shared: 10 (2 + 3).
    assert two.run(gradients_of_sums) == [(3.0, 12.0, 30.0, 50.0), (3.0, 18.0, 30.0, 50.0)]


def mean_of_parts(rank: int, honest: bool, averaged: bool) -> tuple[float, int, float]:
    total = torch.tensor(TOTALS[rank], requires_grad=True)
    if honest:
        mean, count = whole_mean(total, COUNTS[rank], gradients_are_averaged=averaged)
    else:
        mean, count = summed(total / COUNTS[rank]) / 2, COUNTS[rank]
    mean.backward()
    return float(mean), count, float(total.grad)


@pytest.mark.parametrize(("averaged", "gradient"), [(False, 0.25), (True, 0.5)])
def test_the_mean_of_the_whole(two: Team, averaged: bool, gradient: float):
    assert two.run(mean_of_parts, True, averaged) == [(3.25, 4, gradient)] * 2


def test_a_mean_of_means_is_another_number(two: Team):
    assert [mean for mean, _, _ in two.run(mean_of_parts, False, False)] == [2.5, 2.5]


def nothing_counts(rank: int) -> tuple[float, float]:
    total = torch.tensor(0.0, requires_grad=True)
    mean, _ = whole_mean(total, 0)
    mean.backward()
    return float(mean), float(total.grad)


def test_nothing_counted_is_no_division_by_zero(two: Team):
    assert [mean for mean, _ in two.run(nothing_counts)] == [0.0, 0.0]


def parts_of(rank: int) -> Tensor:
    return gathered(torch.full((rank + 1, 2), float(rank)))


def test_parts_of_different_lengths_are_gathered(two: Team):
    expected = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    assert all(torch.equal(found, expected) for found in two.run(parts_of))


# --- batch normalisation ---


def run_norm(norm: torch.nn.Module, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    norm = norm.double()
    with torch.no_grad():
        norm.norm.weight.copy_(torch.tensor([1.5, 0.5]))
        norm.norm.bias.copy_(torch.tensor([-1.0, 2.0]))
    x = x.clone().requires_grad_()
    y = norm(x)
    (y.square() * weights).sum().backward()
    trained = {"weight": norm.norm.weight.grad, "bias": norm.norm.bias.grad}
    kept = {"mean": norm.norm.running_mean, "var": norm.norm.running_var, "batches": norm.norm.num_batches_tracked}
    after = norm.eval()(x).detach()
    return {"y": y.detach(), "x": x.grad, "after": after, **trained, **kept}


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(5, 3, 2, generator=generator, dtype=torch.float64) * 4 + torch.tensor([100.0, -7.0])
    return x, torch.rand(5, 3, 2, generator=generator, dtype=torch.float64)


def normalise_share(rank: int, cut: int, honest: bool) -> dict[str, Tensor]:
    x, weights = batch()
    part = slice(None, cut) if rank == 0 else slice(cut, None)
    return run_norm(SharedBatchNorm(2) if honest else NodeBatchNorm(2), x[part], weights[part])


@pytest.mark.parametrize("cut", [2, 5])
def test_batch_norm_is_that_of_the_whole_batch(two: Team, cut: int):
    expected, parts = run_norm(NodeBatchNorm(2), *batch()), two.run(normalise_share, cut, True)
    for name in ("y", "x", "after"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), expected[name], rtol=1e-11, atol=1e-11)
    for name in ("weight", "bias"):
        torch.testing.assert_close(parts[0][name] + parts[1][name], expected[name], rtol=1e-11, atol=1e-11)
    for part in parts:
        assert all(
            torch.allclose(part[name].double(), expected[name].double(), rtol=1e-12) for name in ("mean", "var", "batches")
        )


def test_batch_norm_of_each_share_alone_is_caught(two: Team):
    expected, parts = run_norm(NodeBatchNorm(2), *batch()), two.run(normalise_share, 2, False)
    assert not torch.allclose(torch.cat([part["y"] for part in parts]), expected["y"], rtol=1e-3)


def test_one_process_is_the_ordinary_batch_norm():
    one, other = run_norm(SharedBatchNorm(2), *batch()), run_norm(NodeBatchNorm(2), *batch())
    assert all(torch.equal(one[name], other[name]) for name in other)
