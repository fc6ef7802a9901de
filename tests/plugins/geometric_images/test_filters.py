"""Invariant filters: the whole table of counts, the slow average, pair orbits of the core, and the files they are kept in."""

import functools
import os

import numpy as np
import pytest
import torch

from gnet import PairOrbits, grid_group
from gnet.errors import RepresentationError, ShapeError
from gnet.groups import equivariant_maps
from gnet.plugins.geometric_images import (
    GeometricImage,
    ImageGroup,
    count_filters,
    count_torus_filters,
    filters,
    filters_between,
    invariant_filters,
    torus_filters,
)
from gnet.plugins.tensors import B
from tests.plugins.geometric_images.slow import orthonormal

TABLE = {
    (2, 1): "1/0 0/0 1/1 0/0 4/4",
    (2, 3): "3/0 2/2 5/5 8/8 20/20",
    (2, 5): "6/1 6/6 13/13 24/24 52/52",
    (2, 7): "10/3 12/12 25/25 48/48 100/100",
    (3, 1): "1/0 0/0 1/0 0/1",
    (3, 3): "4/0 3/0 8/4 16/14",
    (3, 5): "10/0 12/3 30/20 74/66",
    (4, 3): "5/0 4/0 11/0",
}
CELLS = [
    (d, M, k, parity, int(count))
    for (d, M), row in TABLE.items()
    for k, cell in enumerate(row.split())
    for parity, count in zip((1, -1), cell.split("/"), strict=True)
]


def span(data: torch.Tensor) -> torch.Tensor:
    """The projector onto the span of rows."""
    basis = orthonormal(data)
    return basis.mT @ basis


@pytest.mark.parametrize(("d", "M", "k", "parity", "count"), CELLS)
def test_the_table_of_counts(d, M, k, parity, count):
    assert count_filters(d, M, k, parity) == count
    found = invariant_filters(d, M, k, parity)
    assert len(found.data) == count
    assert len(orthonormal(found.data)) == count  # they are independent
    for g in B(d).generators:
        torch.testing.assert_close(found.act(g).data, found.data)


AVERAGED = 800
"""Most entries of filters that are averaged one by one."""


@functools.cache
def moved_units(d, M, k):
    """All unit filters moved by each element of B_d, without the determinant, and the determinants."""
    size = M**d * d**k
    units = GeometricImage(torch.eye(size, dtype=torch.float64).reshape(size, *[M] * d, *[d] * k), d, k, torus=False)
    total = {1: torch.zeros(size, size, dtype=torch.float64), -1: torch.zeros(size, size, dtype=torch.float64)}
    elements = B(d).elements()
    for g in elements:
        total[round(float(torch.linalg.det(g)))] += units.act(g).data.flatten(1) / len(elements)
    return total


@pytest.mark.parametrize(
    ("d", "M", "k", "parity", "count"), [cell for cell in CELLS if cell[1] ** cell[0] * cell[0] ** cell[2] <= AVERAGED]
)
def test_the_span_is_that_of_averaged_unit_filters(d, M, k, parity, count):
    moved = moved_units(d, M, k)
    mean = moved[1] + parity * moved[-1]  # the average over an orthogonal action is the projector onto what no element moves
    assert float(mean.trace()) == pytest.approx(count, abs=1e-9)
    torch.testing.assert_close(mean, span(invariant_filters(d, M, k, parity).data), atol=1e-10, rtol=0)


def test_the_wrong_parity_has_another_span():
    assert float((span(invariant_filters(2, 3, 1).data) - span(invariant_filters(2, 3, 1, -1).data)).norm()) > 1


def test_whoever_writes_into_filters_spoils_no_other():
    for make, first in ((invariant_filters, (2, 3, 0)), (torus_filters, (2, 4, 1)), (filters_between, (2, 3, 1, 1, 1, (0,)))):
        before = make(*first).data.clone()
        make(*first).data.mul_(0)
        assert torch.equal(make(*first).data, before)
        assert float(before.abs().sum()) > 0


def test_filters_are_sorted_scaled_and_turned():
    scalars = invariant_filters(2, 5, 0)
    offsets = torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3)).double()
    radii = [float(offsets.norm(dim=1)[each.flatten() != 0].unique()) for each in scalars.data]
    assert radii == sorted(radii)
    for d, M, k, parity in ((2, 5, 0, 1), (2, 5, 1, 1), (2, 5, 2, -1), (3, 3, 2, 1)):
        norms = invariant_filters(d, M, k, parity).norm().data.flatten(1).amax(1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
    outward = (invariant_filters(2, 5, 1).data.flatten(1, 2) * offsets).sum((1, 2))
    assert bool((outward > 0).all())
    against_the_clock = torch.stack([-offsets[:, 1], offsets[:, 0]], 1)
    assert bool(((invariant_filters(2, 5, 1, -1).data.flatten(1, 2) * against_the_clock).sum((1, 2)) > 0).all())
    assert invariant_filters(2, 3, 1).data[0, 2, 1].tolist() == [1, 0]


# --- one mathematics, two codes ---


@pytest.mark.parametrize("N", [3, 4, 5, 7, 16])
def test_scalar_maps_on_the_torus_are_the_pair_orbits_of_the_core(N):
    expected = {3: 3, 4: 6, 5: 6, 7: 10, 16: 45}[N]
    group = grid_group((N, N), ["translations", "dihedral"])
    orbits = PairOrbits.of(group)
    assert orbits.count == count_torus_filters(2, N, 0) == len(torus_filters(2, N, 0).data) == expected
    if N <= 5:
        assert ImageGroup(N) == group
        assert PairOrbits.of(ImageGroup(N)).count == expected
        units = GeometricImage(torch.eye(N * N, dtype=torch.float64).reshape(-1, N, N), 2)
        rolled = torch.stack(  # A -> A * C on the whole torus, for each filter, as a matrix
            [
                sum(float(each[i, j]) * units.translate([i, j]).data.flatten(1).mT for i in range(N) for j in range(N))
                for each in torus_filters(2, N, 0).data
            ]
        )
        indicators = torch.nn.functional.one_hot(orbits.labels().flatten()).double().mT
        torch.testing.assert_close(span(rolled), span(indicators), atol=1e-10, rtol=0)
        turns = PairOrbits.of(grid_group((N, N), ["translations", "rotations"])).labels()  # a smaller group has more maps
        more = span(torch.nn.functional.one_hot(turns.flatten()).double().mT)
        assert (float((more - span(indicators)).norm()) > 0.5) == (N == 5)


def test_local_maps_are_the_pair_orbits_on_an_edge_set():
    for d, M, N in ((2, 3, 6), (2, 5, 6), (3, 3, 4)):
        group = ImageGroup(N, d)
        offsets = torch.cartesian_prod(*[torch.arange(M) - M // 2] * d)
        pixels = torch.cartesian_prod(*[torch.arange(N)] * d)
        strides = torch.tensor([N**axis for axis in reversed(range(d))])
        receivers = ((pixels[:, None] + offsets) % N) @ strides
        senders = (pixels @ strides)[:, None].expand_as(receivers)
        edges = torch.stack([senders.flatten(), receivers.flatten()])
        assert PairOrbits.on(group, edges).count == count_filters(d, M, 0)
    assert PairOrbits.of(ImageGroup(3, 3)).count == count_filters(3, 3, 0)


def test_counts_of_vector_maps_on_the_whole_torus():
    assert [count_torus_filters(2, N, 2) for N in (3, 5, 7)] == [(N * N + 1) // 2 for N in (3, 5, 7)] == [5, 13, 25]
    assert [count_torus_filters(2, N, 2) for N in (4, 16)] == [10, 130]
    assert [count_torus_filters(2, N, 1) for N in (3, 4, 5, 7, 16)] == [2, 3, 6, 12, 63]
    assert [len(torus_filters(2, N, 1).data) for N in (3, 4, 5, 7, 16)] == [2, 3, 6, 12, 63]
    assert all(count_torus_filters(2, 5, k, p) == count_filters(2, 5, k, p) for k in range(4) for p in (1, -1))


@pytest.mark.parametrize(("N", "k", "k_out", "parity"), [(3, 0, 1, 1), (3, 1, 1, 1), (3, 1, 0, -1), (4, 0, 1, 1)])
def test_counts_are_those_of_linear_algebra(N, k, k_out, parity):
    group = ImageGroup(N)
    shapes = [(N, N, *[2] * order) for order in (k, k_out)]
    maps = equivariant_maps(group, group.image_action(k), group.image_action(k_out, parity), *shapes)
    assert len(maps) == count_torus_filters(2, N, k + k_out, parity)


# --- the files ---


def test_large_filters_are_kept_and_read_again(cache, monkeypatch):
    filters._basis.cache_clear()
    made = invariant_filters(3, 5, 3, -1).data
    assert len(list(cache.glob("filters_window_d3_M5_k3_minus_*.npz"))) == 1
    filters._basis.cache_clear()
    monkeypatch.setattr(filters, "signed_components", lambda *given: pytest.fail("it was found again"))
    assert torch.equal(invariant_filters(3, 5, 3, -1).data, made)
    assert [each.name for each in cache.iterdir() if each.name.startswith(".")] == []


def whole_file(cache):
    """The file of (3, 5, 3, -1), the filters in it, and its arrays."""
    filters._basis.cache_clear()
    made = invariant_filters(3, 5, 3, -1).data
    (path,) = cache.glob("filters_window_d3_M5_k3_minus_*.npz")
    with np.load(path) as file:
        return path, made, file["labels"].copy(), file["signs"].copy()


def found_again(made):
    filters._basis.cache_clear()
    return torch.equal(invariant_filters(3, 5, 3, -1).data, made)


def test_damaged_files_are_made_again(cache):
    path, made, _, _ = whole_file(cache)
    content = path.read_bytes()
    flipped = [bytes([*content[:at], content[at] ^ 0xFF, *content[at + 1 :]]) for at in range(40, len(content), 97)]
    for damaged in (b"", b"no zip", content[:-50], *flipped):  # killed while it was copied, another program's, a bad disk
        path.write_bytes(damaged)
        assert found_again(made)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").replace(path)  # one array, and no archive
    assert found_again(made)


def test_well_formed_files_with_another_content_are_made_again(cache):
    path, made, labels, signs = whole_file(cache)
    gap = np.where(labels == 7, 8, labels)
    swapped = labels.copy()
    swapped[[int((labels == 3).argmax()), int((labels == 4).argmax())]] = 4, 3  # as many labels as there should be
    turned = signs.copy()
    turned[int((labels == 3).argmax())] *= -1
    lies = {
        "few": (np.zeros(7, int), np.ones(7)),
        "one filter": (np.zeros_like(labels), signs),
        "none": (np.full_like(labels, -1), signs),
        "a gap": (gap, signs),
        "below": (np.where(labels == -1, -2, labels), signs),
        "two entries swapped": (swapped, signs),
        "a sign": (labels, turned),
        "no signs": (labels, np.zeros_like(signs)),
        "of another filter": (labels[::-1] - 2 * (labels[::-1] == 0), signs),
    }
    for name, (wrong, its_signs) in lies.items():
        np.savez(path, labels=wrong, signs=its_signs)
        assert found_again(made), name
    np.savez(path, other=labels)
    assert found_again(made)


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GNET_CACHE", str(tmp_path / "file" / "folder"))
    filters._basis.cache_clear()
    assert len(invariant_filters(3, 5, 2).data) == 30
    assert os.listdir(tmp_path) == ["file"]


# --- what is refused ---


def test_what_is_refused():
    with pytest.raises(ShapeError, match="odd side M = 2 m \\+ 1 of filters, got 4"):
        invariant_filters(2, 4, 1)
    for d, M, k in ((1, 3, 0), (2, 3, -1), (2.0, 3, 0), (2, 3, 0.5)):
        with pytest.raises(ShapeError, match="d >= 2 and k >= 0, whole numbers"):
            count_filters(d, M, k)
    for M in (-1, 0, 3.0, True):
        with pytest.raises(ShapeError, match="odd side"):
            invariant_filters(2, M, 1)
    for N in (0, -1, 2.5):
        for of in (count_torus_filters, torus_filters):
            with pytest.raises(ShapeError, match="a whole number N >= 1 of pixels on each side, got"):
                of(2, N, 0)
    with pytest.raises(RepresentationError, match="parity 1 or -1, got 2"):
        invariant_filters(2, 3, 0, 2)
    with pytest.raises(RepresentationError, match="take a smaller M or order"):
        invariant_filters(3, 5, 14)
