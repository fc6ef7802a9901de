"""Fixed weights on edges, against the dense matrix: values, first and second gradients, vmap, and which path is taken."""

import pytest
import torch
from torch import Tensor

from gnet.kernels import sparse
from gnet.kernels.sparse import FixedEdges

CASES = {"few edges": (20, 31), "many edges": (6, 25), "no edges": (5, 0), "one node": (1, 1)}


def edges_of(num_nodes: int, count: int) -> tuple[FixedEdges, Tensor]:
    generator = torch.Generator().manual_seed(count)
    pairs = torch.randperm(num_nodes**2, generator=generator)[:count]
    weights = torch.randn(count, dtype=torch.float64, generator=generator)
    dense = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    dense[pairs % num_nodes, pairs // num_nodes] = weights
    return FixedEdges(pairs // num_nodes, pairs % num_nodes, weights, num_nodes).double(), dense


@pytest.mark.parametrize("case", CASES)
def test_edges_are_the_dense_matrix(case: str):
    edges, dense = edges_of(*CASES[case])
    x = torch.randn(len(dense), 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(edges(x), dense @ x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(edges(x.detach().float()), (dense @ x).detach().float())
    torch.testing.assert_close(edges(x.detach().bfloat16()).double(), (dense @ x).detach(), rtol=0.05, atol=0.05)
    assert torch.autograd.gradcheck(edges, x)
    assert torch.autograd.gradgradcheck(edges, x)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_new_axis_is_one_call_for_each(axis: int):
    edges, dense = edges_of(*CASES["few edges"])
    x = torch.randn(4, 20, 3, dtype=torch.float64)
    found = torch.vmap(edges, in_dims=axis)(x.movedim(0, axis))
    torch.testing.assert_close(found, dense @ x, rtol=1e-12, atol=1e-12)
    grads = torch.vmap(torch.func.grad(lambda each: edges(each).pow(3).sum()))(x)
    torch.testing.assert_close(grads, dense.mT @ (3 * (dense @ x) ** 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("case", "calls"), [("few edges", 1), ("many edges", 0)])
def test_few_edges_are_a_sparse_matrix(case: str, calls: int, monkeypatch):
    edges, dense = edges_of(*CASES[case])
    found, multiply = [], torch.sparse.mm
    monkeypatch.setattr(sparse.torch.sparse, "mm", lambda *tensors: found.append(1) or multiply(*tensors))
    edges(torch.ones(len(dense), 2))
    assert len(found) == calls


class Forgetful(FixedEdges):
    """Sends gradients there again, instead of back."""

    def forward(self, x: Tensor) -> Tensor:
        there = torch.stack([self.receivers, self.senders]), self.weights
        return sparse._Sent.apply(x, *there, *there)


def test_a_transpose_that_is_forgotten_is_caught():
    edges, dense = edges_of(*CASES["few edges"])
    liar = Forgetful(edges.senders, edges.receivers, edges.weights, 20).double()
    x = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(liar(x), dense @ x)
    torch.testing.assert_close(*torch.autograd.grad(edges(x).sum(), x), dense.mT @ torch.ones_like(x))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(*torch.autograd.grad(liar(x).sum(), x), dense.mT @ torch.ones_like(x))


def test_compiled_edges_are_the_same():
    edges, dense = edges_of(*CASES["few edges"])
    x = torch.randn(20, 3, dtype=torch.float64)
    exported = torch.export.export(edges, (x,)).module()
    torch.testing.assert_close(exported(x), dense @ x, rtol=1e-12, atol=1e-12)
