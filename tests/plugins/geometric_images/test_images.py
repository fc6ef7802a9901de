"""Operations on geometric images: against loops over pixels, and each commutes with the group."""

import warnings

import numpy as np
import pytest
import torch

from gnet import equivariance_error
from gnet.errors import ConfigError, GroupError, RepresentationError, ShapeError
from gnet.plugins.geometric_images import (
    ConvContract,
    GeometricImage,
    GINet,
    ImageGroup,
    MultiImage,
    OuterConv,
    Signature,
    gradient_filter,
    invariant_filters,
    levi_civita_symbol,
)
from gnet.plugins.tensors import B
from gnet.testing import LawBroken, check_group
from tests.plugins.geometric_images.slow import drawn, elements_and_shifts, slow_act, slow_conv

KINDS = [(2, 0, -1), (2, 1, 1), (2, 2, -1), (3, 1, -1), (3, 2, 1)]


def close(one, other):
    assert (one.kind, one.torus) == (other.kind, other.torus)
    torch.testing.assert_close(one.data, other.data, rtol=1e-10, atol=1e-12)


# --- the action ---


@pytest.mark.parametrize("torus", [True, False])
@pytest.mark.parametrize(("d", "k", "parity"), KINDS)
def test_elements_act_as_the_loops_say(d, k, parity, torus, rng):
    image = drawn(rng, d, k, parity, side=4 if d == 2 else 3, torus=torus)
    for g in B(d).sample(5, rng):
        close(image.act(g), slow_act(image, g))


def test_a_turn_about_the_centre_of_a_torus_is_a_turn_and_a_translation(rng):
    image = drawn(rng, 2, 1, side=4, lead=(3,))
    for g in B(2).elements():
        shift = ((3 - g.sum(1) * 3) / 2).round().long().tolist()
        close(image.act(g, about="centre"), image.act(g, shift))


@pytest.mark.parametrize(
    ("side", "d", "torus"), [(4, 2, True), (3, 2, True), (5, 2, False), (2, 2, False), (4, 3, True), (2, 4, False)]
)
def test_the_group_of_pixels_is_one(side, d, torus, rng):
    group = ImageGroup(side, d, torus=torus)
    check_group(group)
    x = torch.randn(2, *[side] * d, d, dtype=torch.float64, generator=rng)
    check_group(group, x, action=group.image_action(1, -1), num_samples=4)


@pytest.mark.parametrize("torus", [True, False])
def test_permutations_of_pixels_act_as_matrices_do(torus, rng):
    group, image = ImageGroup(5, 2, torus=torus), drawn(rng, 2, 2, -1, lead=(3,), torus=torus)
    for g, shift in elements_and_shifts(2, rng):
        perm = group.element(g, shift if torus else None)
        moved = image.act(g, shift if torus else None)
        torch.testing.assert_close(group.image_action(2, -1)(perm, image.data), moved.data)
        torch.testing.assert_close(group.linear(perm), g)


def test_an_action_that_forgets_the_determinant_or_an_index_is_caught(rng):
    group = ImageGroup(4, 2)
    x = torch.randn(1, 4, 4, 2, dtype=torch.float64, generator=rng)
    f = lambda x: GeometricImage(x, 2, 1).levi_civita(0).data  # noqa: E731
    for k, parity, right in ((1, -1, True), (1, 1, False), (0, 1, False)):
        errors = []
        for perm in group.generators:
            before = f(group.image_action(1)(perm, x))
            after = group.image_action(k, parity)(perm, f(x).movedim(-1, 0) if k == 0 else f(x))
            errors.append(float((before - (after.movedim(0, -1) if k == 0 else after)).abs().max()))
        assert (max(errors) < 1e-12) == right


def test_a_group_that_lies_is_caught():
    class Sheared(ImageGroup):
        def element(self, g, shift=None):
            perm = super().element(g, shift)
            return perm.roll(1) if shift is not None and int(shift[0]) == 1 else perm

    with pytest.raises((LawBroken, GroupError)):
        check_group(Sheared(4))


# --- products ---


@pytest.mark.parametrize("torus", [True, False])
@pytest.mark.parametrize(("d", "k", "k2", "dilation"), [(2, 0, 1, 1), (2, 1, 1, 2), (2, 2, 0, 4), (3, 1, 1, 1), (4, 0, 1, 1)])
def test_convolutions_are_what_the_loops_say(d, k, k2, dilation, torus, rng):
    side = {2: 5, 3: 3, 4: 3}[d]
    image = drawn(rng, d, k, -1, side, torus=torus)
    entry = drawn(rng, d, k2, -1, 3, torus=False)
    close(image.conv(entry, dilation=dilation), slow_conv(image, entry, dilation))


def test_batches_and_several_filters(rng):
    images, filters = drawn(rng, 2, 1, lead=(3, 2)), drawn(rng, 2, 1, -1, 3, lead=(4,), torus=False)
    found = images.conv(filters)
    assert (found.leading, found.kind) == ((3, 2, 4), (2, -1))
    none = images.conv(invariant_filters(2, 3, 0, -1))  # there is none
    assert (none.leading, none.kind) == ((3, 2, 0), (1, -1))
    one = images.like(images.data[2, 1]).conv(filters.like(filters.data[3]))
    torch.testing.assert_close(found.data[2, 1, 3], one.data)


def test_outer_products_contractions_and_symbols_by_hand(rng):
    u, v = drawn(rng, 3, 1, -1, 3), drawn(rng, 3, 1, 1, 3)
    both = u.outer(v)
    assert both.kind == (2, -1)
    torch.testing.assert_close(both.data, torch.einsum("xyzi,xyzj->xyzij", u.data, v.data))
    torch.testing.assert_close(both.contract(0, 1).data, (u.data * v.data).sum(-1))
    cross = both.levi_civita(0, 1)
    assert cross.kind == (1, 1)
    torch.testing.assert_close(cross.data, torch.linalg.cross(u.data, v.data))
    torch.testing.assert_close(both.permute(1, 0).data, both.data.mT)
    assert levi_civita_symbol(3)[0, 1, 2] == levi_civita_symbol(3)[2, 0, 1] == -levi_civita_symbol(3)[1, 0, 2] == 1
    assert int(levi_civita_symbol(4).abs().sum()) == 24
    turned = drawn(rng, 2, 1).levi_civita(0)
    assert turned.kind == (1, -1)
    torch.testing.assert_close((2 * u - u).data, u.data)


OPERATIONS = {
    "contraction": (3, lambda a: a.contract(0, 2)),
    "permutation": (2, lambda a: a.permute(1, 0)),
    "symbol": (2, lambda a: a.levi_civita(1)),
    "both indices": (2, lambda a: a.levi_civita(1, 0)),
    "norm": (2, lambda a: a.norm()),
    "product": (1, lambda a: a.outer(a)),
    "sum": (1, lambda a: a + 2 * a),
    "stride": (1, lambda a: a.conv(invariant_filters(a.d, 3, 1), stride=2)),
    "dilation": (1, lambda a: a.conv(invariant_filters(a.d, 3, 1), dilation=3)),
}


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_commute_with_the_group(name, d, rng):
    k, operation = OPERATIONS[name]
    for parity in (1, -1):
        image = drawn(rng, d, k, parity, side=4)
        for g, shift in elements_and_shifts(d, rng, 2):
            even = [2 * (s // 2) for s in shift]  # a stride keeps every other pixel
            smaller = [s // 2 for s in even] if name == "stride" else even
            close(operation(image.act(g, even)), operation(image).act(g, smaller))


@pytest.mark.parametrize("how", ["mean", "max"])
@pytest.mark.parametrize("torus", [True, False])
def test_pools_turn_with_the_image(how, torus, rng):
    image = drawn(rng, 2, 1, side=6, lead=(2,), torus=torus)
    for g in B(2).elements():
        close(image.act(g, about="centre").pool(3, how), image.pool(3, how).act(g, about="centre"))
    by_hand = image.data[0, :3, 3:].flatten(0, 1)
    expected = by_hand.mean(0) if how == "mean" else by_hand[by_hand.norm(dim=1).argmax()]
    torch.testing.assert_close(image.pool(3, how).data[0, 0, 1], expected)
    assert image.pool(1, how).data.equal(image.data)


def first_of_largest(image, size):
    """The max pool that takes the first of equal tensors, by loops."""
    n = image.pixels[0] // size
    found = torch.zeros(n, n, *image.data.shape[2:], dtype=image.data.dtype)
    for i in range(n):
        for j in range(n):
            block = image.data[i * size : (i + 1) * size, j * size : (j + 1) * size].flatten(0, 1)
            found[i, j] = block[block.flatten(1).norm(dim=1).argmax()]
    return image.like(found)


def test_max_pools_turn_with_equal_norms_too(rng):
    units = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]], dtype=torch.float64)
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    ties = GeometricImage(units, 2, 1, torus=False)
    whole = GeometricImage(torch.randint(-1, 2, (6, 6, 6, 3), generator=rng).double(), 3, 1, -1, torus=False)
    close(ties.act(quarter).pool(2, "max"), ties.pool(2, "max").act(quarter))
    for g in B(3).sample(6, rng):
        close(whole.act(g).pool(3, "max"), whole.pool(3, "max").act(g))
    liar = lambda image: first_of_largest(image, 2)  # noqa: E731
    assert float((liar(ties.act(quarter)).data - liar(ties).act(quarter).data).abs().max()) > 0.5


def test_norms_that_differ_by_rounding_of_their_sums_are_equal(rng):
    """Components in another order: added one after the other, their squares round to different sums."""
    squares = torch.randn(500, 3, dtype=torch.float64, generator=rng).square()
    assert bool((squares.sum(1) != squares.flip(1).sum(1)).any())  # the plain sums tell them apart
    for row in torch.randn(20, 3, dtype=torch.float64, generator=rng):
        orders = torch.stack([row[[0, 1, 2]], row[[2, 1, 0]], row[[1, 2, 0]], -row, *torch.zeros(4, 3, dtype=torch.float64)])
        image = GeometricImage(orders.reshape(2, 2, 2, 3), 3, 1, torus=False)
        torch.testing.assert_close(image.pool(2, "max").data[0, 0, 0], orders[:4].mean(0), rtol=1e-14, atol=0)


def test_the_gradient_of_a_max_pool_is_that_of_the_largest(rng):
    data = torch.randn(4, 4, 2, dtype=torch.float64, generator=rng, requires_grad=True)
    GeometricImage(data, 2, 1).pool(2, "max").data.sum().backward()
    assert int((data.grad != 0).all(2).sum()) == 4
    assert torch.equal(data.grad.unique(), torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_liars_do_not_commute(rng):
    image, g = drawn(rng, 2, 1, side=6), torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    free = drawn(rng, 2, 1, side=3, torus=False)
    lies = [
        lambda a: a.conv(free),  # a filter that is not invariant
        lambda a: a.like(a.data.relu()),
        lambda a: a.like(a.data + 1),
        lambda a: a.like(torch.nn.functional.max_pool2d(a.data.movedim(-1, 0), 2).movedim(0, -1)),
    ]
    for lie in lies:
        one, other = lie(image.act(g, about="centre")), lie(image).act(g, about="centre")
        assert float((one.data - other.data).norm() / other.data.norm()) > 0.05


def test_norms_have_gradients_at_zero():
    data = torch.zeros(3, 3, 2, requires_grad=True)
    GeometricImage(data, 2, 1).norm().data.sum().backward()
    assert torch.equal(data.grad, torch.zeros(3, 3, 2))


# --- numbers, dtypes, empty batches ---


def test_images_are_scaled_by_numbers_and_converted(rng):
    u = drawn(rng, 2, 1)
    half = torch.tensor(0.5, dtype=torch.float64)
    for scaled in (u / 2, 0.5 * u, u * half, half * u, -(-u / 2)):
        close(scaled, u.like(u.data / 2))
    assert u.to(torch.float32).data.dtype == torch.float32
    assert u.to("meta").data.device.type == "meta"
    assert u.to("meta").kind == u.kind


def test_a_product_with_components_is_refused_since_it_does_not_commute(rng):
    u, g = drawn(rng, 2, 1), torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    lie = lambda image: image.like(image.data * weights)  # noqa: E731
    assert float((lie(u.act(g)).data - lie(u).act(g).data).abs().max()) > 0.1
    for product in (lambda: u * weights, lambda: weights * u, lambda: u * u, lambda: u / weights, lambda: u * [1.0, 2.0]):
        with pytest.raises(RepresentationError, match=r"multiplied by numbers, got .*image.outer"):
            product()


def test_whole_numbers_are_refused_before_filters_are_rounded_to_them(rng):
    for dtype in (torch.int64, torch.uint8, torch.bool):
        with pytest.raises(ShapeError, match=f"a floating dtype, got {dtype}; convert it with data.float"):
            GeometricImage(torch.ones(5, 5, dtype=dtype), 2)
    image = drawn(rng, 2, 1, side=4)
    for dtype in (torch.float32, torch.bfloat16, torch.complex64):
        found = image.to(dtype).conv(gradient_filter(2, 3.0))
        assert found.data.dtype == dtype
        assert float(found.data.abs().max()) > 0.1
        assert image.to(dtype).pool(2, "max").data.dtype == dtype


def test_batches_without_items(rng):
    none = drawn(rng, 2, 1, side=4, lead=(0, 3))
    g = B(2).generators[0]
    for found, kind in (
        (none.conv(invariant_filters(2, 3, 1)), (2, 1)),
        (none.act(g, [1, 2]), (1, 1)),
        (none.pool(2, "max"), (1, 1)),
        (none.norm(), (0, 1)),
        (none.levi_civita(0), (1, -1)),
    ):
        assert (len(found.data), found.kind) == (0, kind)


# --- what is refused ---


IMAGE = GeometricImage(torch.ones(4, 4, 2), 2, 1)
MANY = MultiImage.of(GeometricImage(torch.ones(3, 1, 4, 4, 2), 2, 1))
GROUP, SIG = ImageGroup(4), MANY.signature
LAYER = ConvContract(SIG, SIG)


def error_with(x, *actions, group=GROUP):
    return equivariance_error(LAYER, x, group, *actions, num_samples=2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GeometricImage(np.ones((4, 4)), 2), ShapeError, r"data as a tensor, got a ndarray, .* torch\.as_tensor"),
        (lambda: IMAGE + 1, RepresentationError, r"an image to add as GeometricImage\(data, d, k, parity\), got int"),
        (lambda: IMAGE - IMAGE.data, RepresentationError, "an image to add .* got Tensor"),
        (lambda: IMAGE.conv(torch.ones(3, 3)), RepresentationError, "expected filters as GeometricImage.*, got Tensor"),
        (lambda: IMAGE.outer(2.0), RepresentationError, "expected the other factor as GeometricImage.*, got float"),
        (lambda: MANY + 1, RepresentationError, "multi-images of one signature are added, got int"),
        (lambda: MultiImage.of(IMAGE.data), RepresentationError, "expected each image as GeometricImage.*, got Tensor"),
        (lambda: MultiImage({(1, 1): IMAGE.data}), RepresentationError, "expected each image as GeometricImage.*, got Tensor"),
        (lambda: Signature(2, [(1, 1)]), ShapeError, r"such as \{\(1, 1\): 3\}, got \[\(1, 1\)\]"),
        (lambda: LAYER(IMAGE), ShapeError, r"or a MultiImage, got a GeometricImage; give MultiImage\.of\(image\)"),
        (lambda: LAYER(np.ones((1, 2, 4, 4))), ShapeError, "got a ndarray, which is no tensor"),
        (lambda: LAYER(torch.ones(1, 2, 4, 4).double()), ShapeError, "expected x of dtype torch.float32, got torch.float64"),
        (lambda: OuterConv(SIG, SIG, [2])(MANY.stacked().double()), ShapeError, "dtype torch.float32, got torch.float64"),
        (lambda: LAYER(MANY.to(torch.float64)), ShapeError, "expected x of dtype torch.float32, got torch.float64"),
        (lambda: GINet(SIG, SIG, SIG, dilations=3), ConfigError, r"dilations as a sequence, .* such as \(1, 2, 1\), got 3"),
        (lambda: error_with(MANY), ShapeError, r"as a tensor, got MultiImage; give x\.stacked\(\)"),
        (lambda: error_with(MANY.stacked()), ShapeError, r"\(\*, 16, C\) .*; images are moved by signature\.action\(group\)"),
        (lambda: error_with(MANY.stacked(), SIG.action(GROUP)), ShapeError, r"moved by signature\.action\(group\)"),
        (
            lambda: error_with(torch.ones(2, 2, 6, 6), *[SIG.action(GROUP)] * 2),
            ShapeError,
            r"images of 4\^2 pixels for G\(4, 2\), got \(6, 6\) of \(2, 2, 6, 6\)",
        ),
    ],
)
def test_wrong_types_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_order_that_was_left_out_is_pointed_at():
    with pytest.warns(UserWarning, match=r"data \(10, 1, 5, 5, 2\) without k are scalars on 5 x 2 pixels; .* give k=1"):
        GeometricImage(torch.ones(10, 1, 5, 5, 2), d=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape, d, k in (((5, 5, 2), 2, 1), ((7, 2, 2), 2, 0), ((5, 2), 2, 0), ((3, 5, 4), 2, 0), ((2, 3, 3, 3), 3, 0)):
            GeometricImage(torch.ones(shape), d, k)


def test_what_is_refused(rng):
    scalar, vector = drawn(rng, 2, 0), drawn(rng, 2, 1)
    with pytest.raises(ShapeError, match="one odd side M"):
        scalar.conv(drawn(rng, 2, 0, side=4, torus=False))
    with pytest.raises(ShapeError, match="M <= N, got M = 7"):
        scalar.conv(drawn(rng, 2, 0, side=7, torus=False))
    with pytest.raises(ShapeError, match="has order 1"):
        vector.contract(0, 1)
    with pytest.raises(RepresentationError, match=r"got \(0, 1\) and \(1, 1\)"):
        scalar + vector
    with pytest.raises(RepresentationError, match="one order and parity"):
        scalar + scalar.like(scalar.data, 0, -1)
    with pytest.raises(ShapeError, match="d >= 2"):
        GeometricImage(torch.zeros(5), 1)
    with pytest.raises(RepresentationError, match="parity 1 or -1"):
        GeometricImage(torch.zeros(5, 5), 2, 0, 0)
    with pytest.raises(ShapeError, match="1 axes of size 2"):
        GeometricImage(torch.zeros(5, 5, 3), 2, 1)
    with pytest.raises(ShapeError, match="different indices"):
        drawn(rng, 2, 2).contract(1, 1)
    for indices in (((0, 1),), (0.0,), (True,), (-1,)):
        with pytest.raises(ShapeError, match=r"different indices in 0\.\.1"):
            drawn(rng, 2, 2).levi_civita(*indices)
    for shift in ([0.9, 0.2], [1], [1, 2, 3], [float("nan"), 0]):
        with pytest.raises(ShapeError, match="a shift of 2 whole numbers of pixels"):
            vector.translate(shift)
        with pytest.raises(ShapeError, match="a shift of 2 whole numbers of pixels"):
            ImageGroup(4).element(torch.eye(2), shift)
    for setting in ({"dilation": 1.5}, {"dilation": 0}, {"stride": 1.0}):
        with pytest.raises(ShapeError, match="dilation >= 1 and stride >= 1, whole numbers"):
            scalar.conv(drawn(rng, 2, 0, side=3, torus=False), **setting)
    for size in (0, 1.0, 2):
        with pytest.raises(ShapeError, match="a size that divides"):
            scalar.pool(size)
    with pytest.raises(ShapeError, match="expected a torus"):
        drawn(rng, torus=False).translate([1, 0])
    with pytest.raises(GroupError, match="signed permutation"):
        vector.act(torch.tensor([[0.6, 0.8], [-0.8, 0.6]]))
    with pytest.raises(ShapeError, match="divides its sides"):
        scalar.conv(drawn(rng, 2, 0, side=3, torus=False), stride=2)
    with pytest.raises(ShapeError, match="divides N - 1"):
        drawn(rng, side=4, torus=False).conv(drawn(rng, 2, 0, side=3, torus=False), stride=2)
    with pytest.raises(ShapeError, match="at least 3 pixels"):
        ImageGroup(2)
    with pytest.raises(GroupError, match="another permutation"):
        ImageGroup(4).linear(torch.arange(16).roll(1))
    with pytest.raises(GroupError, match="no torus"):
        ImageGroup(4, torus=False).element(torch.eye(2), [1, 0])
