"""Frames move with the input, so that averages over them are exact; where they are not defined they say so."""

import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, DegenerateInputError, RepresentationError, ShapeError
from gnet.groups import TRIVIAL_ACTION, SymmetricGroup
from gnet.measures import equivariance_error
from gnet.plugins.averaging import Averaged, frames
from gnet.plugins.scalars import POINTS, SE, E, Poincare
from gnet.plugins.tensors import SO, Lorentz, O, S
from tests.plugins.averaging.test_averaged import net

X = torch.randn(7, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def same_set(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two stacks (F, ...) hold the same elements."""
    distances = (one[:, None] - other[None]).abs().flatten(2).amax(2)
    return bool((distances.amin(0) < 1e-9).all() and (distances.amin(1) < 1e-9).all()) and len(one) == len(other)


FRAMES = {
    "pca": (frames.pca, O(3)),
    "special": (lambda x: frames.pca(x, special=True), SO(3)),
    "gram_schmidt": (frames.gram_schmidt, O(3)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_move_with_the_input(name, rng):
    frame, group = FRAMES[name]
    for g in group.sample(3, rng):
        for before, after in zip(frame(X), frame(X @ g.mT), strict=True):
            assert same_set(g @ before, after)


def test_the_frame_of_rotations_does_not_move_with_mirrors():
    """The liar: SO(3) frames are not those of O(3)."""
    frame, mirror = FRAMES["special"][0], torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    assert not same_set(mirror @ frame(X)[0], frame(X @ mirror.mT)[0])


@pytest.mark.parametrize(("group", "size"), [(O(3), 8), (SO(3), 4), (O(2), 4)], ids=["O3", "SO3", "O2"])
def test_a_framed_net_is_exactly_symmetric(group, size, rng):
    x = X[..., : group.dim]
    f = net(6 * group.dim, 1, rng)
    framed = Averaged(f, group, mode="frame")
    assert framed.frame(x).shape[1] == size
    assert equivariance_error(framed, x, group, action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-10
    assert equivariance_error(f, x, group, action_out=TRIVIAL_ACTION, generator=rng).relative > 1e-2
    vectors = Averaged(net(6 * group.dim, group.dim, rng), group, rep_out=group.action, mode="frame")
    assert equivariance_error(vectors, x, group, generator=rng).relative < 1e-10


def test_one_element_is_enough_for_a_canonical_form(rng):
    framed = Averaged(net(18, 3, rng), O(3), rep_out=O(3).action, mode="frame", frame=frames.gram_schmidt, chunk=5)
    assert equivariance_error(framed, X, O(3), generator=rng).relative < 1e-10


def test_translations_are_taken_off_by_centring(rng):
    framed = Averaged(net(18, 1, rng), O(3), mode="frame")
    moved = X + torch.randn(7, 1, 3, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(framed(frames.centred(moved)[0]), framed(frames.centred(X)[0]))


@pytest.mark.parametrize(("group", "size"), [(E(3), 8), (SE(3), 4), (E(2), 4)], ids=lambda each: getattr(each, "name", str(each)))
def test_with_translations_a_frame_serves_where_nothing_can_be_drawn(group, size, rng):
    x = X[..., : group.dim - 1] + 5
    f = net(x[0].numel(), 1, rng)
    for given in (None, lambda x: frames.euclidean(x, special=group.name.startswith("S"))):
        framed = Averaged(f, group, rep_in=POINTS, mode="frame", frame=given)
        assert framed.frame(x).shape[1:] == (size, group.dim, group.dim)
        assert equivariance_error(framed, x, group, POINTS, TRIVIAL_ACTION, generator=rng).relative < 1e-10
        points = Averaged(lambda x: x[:, 0].square(), group, POINTS, POINTS, mode="frame", frame=given)
        assert equivariance_error(points, x, group, POINTS, POINTS, generator=rng).relative < 1e-10
    turns_alone = lambda x: frames.euclidean(frames.centred(x)[0])  # noqa: E731
    liar = Averaged(f, group, rep_in=POINTS, mode="frame", frame=turns_alone)
    assert equivariance_error(liar, x, group, POINTS, TRIVIAL_ACTION, generator=rng).relative > 1e-3


def test_the_frame_with_mirrors_is_none_of_rotations_alone(rng):
    cloud = X + 5
    chiral = lambda x: torch.linalg.det(x[:, :3] - x[:, 3:4]).sign()  # noqa: E731
    small = Averaged(chiral, E(3), rep_in=POINTS, mode="frame", frame=lambda x: frames.euclidean(x, special=True))
    assert equivariance_error(small, cloud, E(3), POINTS, TRIVIAL_ACTION, generator=rng).relative > 0.1


@pytest.mark.parametrize("group", [Poincare(3), Lorentz(3), S(3)], ids=lambda group: group.name)
def test_no_frame_is_known_of_others(group):
    with pytest.raises(RepresentationError, match=r"no frame is known for .* frames\.euclidean of one with translations"):
        Averaged(lambda x: x[:, 0, 0], group, mode="frame")


def test_a_degenerate_cloud_shows_the_way_out_of_its_own_frame():
    square = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]], dtype=torch.float64) * 3e4
    with pytest.raises(DegenerateInputError, match=r"got 1\.8e\+09 and 1\.8e\+09 .* frames\.euclidean\(x, special=True, on_d"):
        Averaged(lambda x: x[:, 0, 0], SE(2), rep_in=POINTS, mode="frame")(square)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1.0, 1e20, 1e38])
def test_frames_do_not_depend_on_the_unit_of_length(scale):
    x = X.float() / X.abs().max().float()
    torch.testing.assert_close(frames.pca(scale * x), frames.pca(x), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.gram_schmidt(scale * x), frames.gram_schmidt(x), atol=1e-4, rtol=0)


def test_keys_are_a_function_or_numbers():
    assert torch.equal(frames.sort(X, X[..., 0]), frames.sort(X, lambda x: x[..., 0]))
    with pytest.raises(ShapeError, match=r"expected a key of shape \(7, 6\)"):
        frames.sort(X, X)
    with pytest.raises(ConfigError, match="expected a key as a function of x or a tensor"):
        frames.sort(X, "norm")


def test_sorting_is_the_frame_of_permutations(rng):
    group = SymmetricGroup(6)
    frame = lambda x: frames.sort(x, lambda x: x.norm(dim=-1))  # noqa: E731
    f = net(18, 1, rng)
    framed = Averaged(f, group, mode="frame", frame=frame)
    assert equivariance_error(framed, X, group, action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-10
    assert equivariance_error(f, X, group, action_out=TRIVIAL_ACTION, generator=rng).relative > 1e-2
    nodes = nn.Sequential(net(18, 12, rng), nn.Unflatten(1, (6, 2)))
    framed = Averaged(nodes, group, rep_out=group.action, mode="frame", frame=frame)
    assert equivariance_error(framed, X, group, generator=rng).relative < 1e-10


def test_equal_eigenvalues_are_refused_or_averaged(rng):
    cube = torch.tensor([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], dtype=torch.float64)[None]
    with pytest.raises(DegenerateInputError, match="expected different eigenvalues, got 8 and 8 of item 0"):
        frames.pca(cube)
    with pytest.raises(DegenerateInputError):
        frames.pca(torch.zeros(1, 4, 2))
    for group in (O(3), SO(3)):  # the way out that the message shows is one
        with pytest.raises(DegenerateInputError, match="frame=lambda x: ") as caught:
            Averaged(lambda x: x[:, 0, 0], group, mode="frame")(cube)
        shown = eval(str(caught.value).split("take frame=")[1], {"frames": frames})
        f = Averaged(lambda x: x[:, 0, 0].square(), group, mode="frame", frame=shown)
        assert f(torch.zeros(2, 4, 3)).tolist() == [0.0, 0.0]
        assert (torch.linalg.det(shown(cube)) > 0).all() == (group.name == "SO(3)")
    many = frames.pca(cube, on_degenerate="average", num_samples=500, generator=rng)
    assert many.shape == (1, 500 * 8, 3, 3)
    first = many[0, :, 0, 0]
    assert abs(float(first.square().mean()) - 1 / 3) < 0.1  # uniform in the whole space
    flat = torch.cat([cube * torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64), X[:1, :, :].repeat(1, 2, 1)[:, :8]])
    mixed = frames.pca(flat, special=True, on_degenerate="average", num_samples=3, generator=rng)
    assert mixed.shape == (2, 3 * 4, 3, 3)
    torch.testing.assert_close(torch.linalg.det(mixed), torch.ones(2, 12, dtype=torch.float64))
    torch.testing.assert_close(mixed[0, :, 2, 2].abs(), torch.ones(12, dtype=torch.float64))  # its own axis is kept


def test_other_degenerate_inputs():
    line = torch.tensor([[[1.0, 2.0], [2.0, 4.0]]])
    with pytest.raises(DegenerateInputError, match="independent vectors, got dependent ones in item 0"):
        frames.gram_schmidt(line)
    with pytest.raises(ShapeError, match=r"at least 3 vectors in R\^3, got 2"):
        frames.gram_schmidt(X[:, :2])
    with pytest.raises(DegenerateInputError, match="different keys, got 1 twice in item 0"):
        frames.sort(torch.ones(1, 3, 1), lambda x: x[..., 0])
    with pytest.raises(ShapeError, match="expected a key of shape"):
        frames.sort(X, lambda x: x)
    with pytest.raises(ShapeError, match=r"expected x of shape \(B, n, d\)"):
        frames.pca(X[0])


def test_frames_jump_where_eigenvalues_meet():
    """What the caveat says: two inputs that are near each other, and averages that are not."""
    base = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]], dtype=torch.float64)
    wide, high = (base * torch.tensor([1 + s, 1 - s], dtype=torch.float64) for s in (1e-4, -1e-4))
    f = Averaged(lambda x: x[:, 0, 1].abs(), O(2), mode="frame")
    assert abs(float(f(wide)) - float(f(high))) > 0.5


def test_vectors_of_very_different_lengths_are_independent():
    x = torch.tensor([[[1e7, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(frames.gram_schmidt(x)[0, 0], torch.eye(2, dtype=torch.float64))
    for second in ([1e-9, 0.0], [0.0, 0.0]):
        with pytest.raises(DegenerateInputError, match="expected 2 independent vectors"):
            frames.gram_schmidt(torch.tensor([[[1e7, 0.0], second]], dtype=torch.float64))


def test_a_misspelt_way_out_is_refused():
    with pytest.raises(ConfigError, match="on_degenerate"):
        frames.pca(X, on_degenerate="rise")


NAN, INFINITE = torch.full((2, 4, 3), float("nan")), torch.full((2, 4, 3), float("inf"))


@pytest.mark.parametrize("x", [NAN, INFINITE], ids=["nan", "infinite"])
@pytest.mark.parametrize(
    "frame",
    [frames.pca, frames.gram_schmidt, lambda x: frames.sort(x, lambda x: x[..., 0]), Averaged(torch.sum, O(3), mode="frame")],
    ids=["pca", "gram_schmidt", "sort", "averaged"],
)
def test_what_is_not_finite_has_no_frame(frame, x):
    x = torch.cat([X[:1, :4].to(x), x])
    with pytest.raises(DegenerateInputError, match="NaN or infinity in item 1"):
        frame(x)
