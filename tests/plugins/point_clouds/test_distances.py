"""The bound of distances against all pairings, shapes that have their law, meshes from files, and a model that learns."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.utils.data import DataLoader
from torch_geometric.data import Data
from torch_geometric.io import write_off

from gnet.errors import ConfigError, DataError, DegenerateInputError, NonFiniteError, ShapeError
from gnet.groups.haar import haar_orthogonal
from gnet.plugins.point_clouds import (
    CloudDeepSet,
    CloudPairs,
    DistanceModule,
    boxes,
    cloud_invariants,
    modelnet,
    third_lower_bound,
    tori,
)
from gnet.plugins.point_clouds.shapes import placed
from gnet.study.fitting import fit


def distances(V: torch.Tensor) -> np.ndarray:
    """Each with its own norm, as it is written."""
    return np.array([[float((v - w).norm()) for w in V] for v in V])


def test_the_bound_is_the_best_pairing_and_below_every_distortion(rng):
    V = torch.randn(2, 5, 3, dtype=torch.float64, generator=rng)
    W = torch.randn(3, 5, 2, dtype=torch.float64, generator=rng)
    found = third_lower_bound(V, W)
    assert found.shape == (2, 3)
    for a, b in itertools.product(range(2), range(3)):
        one, other = distances(V[a]), distances(W[b])
        rows, columns = np.sort(one), np.sort(other)
        best, least = np.inf, np.inf
        for pairing in map(list, itertools.permutations(range(5))):
            best = min(best, ((rows - columns[pairing]) ** 2).mean())
            least = min(least, ((one - other[pairing][:, pairing]) ** 2).mean())
        assert float(found[a, b]) == pytest.approx(best, rel=1e-10)
        assert float(found[a, b]) <= least + 1e-12


def test_isometric_clouds_have_none(rng):
    V = torch.randn(4, 8, 3, dtype=torch.float64, generator=rng)
    perm = torch.randperm(8, generator=rng)
    moved = V[:, perm] @ haar_orthogonal(3, 4, rng).to(V).mT + 5.0
    found = third_lower_bound(V, moved)
    assert float(torch.diagonal(found).abs().max()) < 1e-20
    assert float((found + torch.eye(4) * 9).min()) > 1e-4
    torch.testing.assert_close(third_lower_bound(2 * V, 2 * V.flip(0)), 4 * third_lower_bound(V, V.flip(0)))
    # The liar compares rows of distances that are not sorted, and finds a difference.
    one, other = (torch.from_numpy(distances(each)) for each in (V[0], V[0, [1, 2, 3, 4, 5, 6, 7, 0]]))
    cost = torch.cdist(one, other) ** 2 / 8
    assert float(cost[linear_sum_assignment(cost)].mean()) > 1e-3
    with pytest.raises(ShapeError, match=r"with one n >= 1, got \(4, 8, 3\) and \(4, 7, 3\)"):
        third_lower_bound(V, V[:, :7])


# --- shapes ---


def test_shapes_are_what_they_are_called(monkeypatch, rng):
    monkeypatch.setattr("gnet.plugins.point_clouds.shapes.placed", lambda V, generator: V)
    x, y, z = tori(200, 30, rng).unbind(-1)
    radius = ((torch.hypot(x, y) - 1) ** 2 + z**2).sqrt()
    assert float((radius - radius.mean(-1, keepdim=True)).abs().max()) < 1e-12
    assert 0.1 <= float(radius.min()) <= 0.2 and 0.5 <= float(radius.max()) <= 0.6
    V = boxes(30, 400, rng)
    half = V.abs().amax(1)
    on_face = (V.abs() / half[:, None] > 1 - 1e-12).double()
    assert bool((on_face.sum(-1) >= 1).all())
    assert 0.2 <= float(half.min()) <= 0.3 and 0.9 <= float(half.max()) <= 1.0
    areas = 1 / half
    assert float((on_face.mean(1) - areas / areas.sum(-1, keepdim=True)).abs().mean()) < 0.03  # points by area


def test_clouds_are_placed(rng):
    V = torch.randn(200, 20, 3, generator=rng) @ torch.tensor([[3.0, 0, 0], [0, 1, 0], [0, 0, 1]]) + 7.0
    found = placed(V, rng)
    assert found.dtype == torch.float32 and float(found.mean(1).abs().max()) < 1e-6
    largest = found.norm(dim=-1).amax(-1)
    assert 0.7 <= float(largest.min()) < 0.72 and 0.98 < float(largest.max()) <= 1.0 + 1e-6
    axes = torch.linalg.eigh((found.mT @ found).double()).eigenvectors[..., -1]
    assert float((axes[:, :, None] * axes[:, None]).mean(0).sub(torch.eye(3) / 3).abs().max()) < 0.12
    ratio = torch.cdist(found, found) / torch.cdist(V, V)
    assert float((ratio[:, 0, 1:] / ratio[:, 0, 1:2] - 1).abs().max()) < 1e-4  # similar to what they were
    again = [tori(2, 5, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)
    with pytest.raises(DegenerateInputError, match="all the same"):
        placed(torch.ones(1, 4, 3))
    for make in (tori, boxes):
        with pytest.raises(ConfigError, match="num and num_points >= 1, got 0 and 5"):
            make(0, 5)


def test_meshes_are_read_from_the_user_s_files(tmp_path, rng):
    folder = tmp_path / "bed" / "train"
    folder.mkdir(parents=True)
    corners = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 1]])
    face = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 2], [2, 3, 3, 3]])
    for number in range(3):
        write_off(Data(pos=corners, face=face), str(folder / f"bed_{number:04d}.off"))
    # A file as some of ModelNet's are: the counts stand behind OFF on its first line.
    broken = (folder / "bed_0001.off").read_text().replace("OFF\n", "OFF", 1)
    (folder / "bed_0001.off").write_text(broken)
    state = torch.get_rng_state()
    clouds = modelnet(tmp_path, "bed", num=3, num_points=50, generator=rng)
    assert torch.equal(torch.get_rng_state(), state)
    assert clouds.shape == (3, 50, 3) and float(clouds.norm(dim=-1).max()) <= 1 + 1e-6
    first, again = (modelnet(tmp_path, "bed", num=2, num_points=5, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(DataError, match=r"expected 4 meshes .*bed/train/\*\.off, got 3"):
        modelnet(tmp_path, "bed", num=4)
    with pytest.raises(ConfigError, match="split 'train' or 'test', got 'val'"):
        modelnet(tmp_path, "bed", "val")
    (folder / "bed_0002.off").write_text("PLY\nno mesh\n")
    with pytest.raises(DataError, match=r"expected a mesh in .*bed_0002\.off"):
        modelnet(tmp_path, "bed", num=3)


# --- learning ---


def test_a_distance_is_learned():
    """The true distance is that of an encoder with other weights, which the model can be."""
    drawn = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher, model = (DistanceModule(CloudDeepSet(8, 4), 4, lr=1e-2) for _ in range(2))
    one, other = (teacher.encoder.invariants(torch.randn(12, 20, 3, generator=drawn)) for _ in range(2))
    with torch.no_grad():
        truth = teacher(one, other)
        truth = (truth - truth.mean()) / truth.std()  # a and b of the model can be that
    pairs = DataLoader([CloudPairs(one, other, truth)], batch_size=None)
    assert fit(model, pairs, max_epochs=200).global_step == 200
    with torch.no_grad():
        left = (model(one, other) - truth).square().mean()
        others = (model(one, other) - truth[torch.randperm(12, generator=drawn)]).square().mean()
    assert float(left) < 0.05
    assert float(others) > 0.5, "distances of other clouds are not predicted"


def test_the_head_has_a_step_of_its_own():
    model = DistanceModule(CloudDeepSet(4, 2), 2, 1e-3, 1e-2)
    encoder, head = model.configure_optimizers().param_groups
    assert (encoder["lr"], head["lr"]) == (1e-3, 1e-2)
    assert len(encoder["params"]) + len(head["params"]) == len(list(model.parameters()))
    with pytest.raises(ConfigError, match="lr and head_lr > 0"):
        DistanceModule(CloudDeepSet(4, 2), 2, 0.0)


def test_clouds_without_a_bound(rng):
    V = torch.randn(2, 5, 3, generator=rng)
    assert not third_lower_bound(V.clone().requires_grad_(), V).requires_grad
    for first, second, name in ((V / 0, V, "first"), (V, V * torch.nan, "second")):
        with pytest.raises(NonFiniteError, match=f"finite points in {name}"):
            third_lower_bound(first, second)
    with pytest.raises(ShapeError, match="with one n >= 1"):
        third_lower_bound(V[:, :0], V[:, :0])
    with pytest.raises(NonFiniteError, match="clouds of finite points"):
        cloud_invariants(torch.cat([V[:1], V[:1] * torch.nan]), "kmeans")
