"""Derivatives as filters: factors on waves, identities, and invariance."""

import math

import pytest
import torch

from gnet.errors import ConfigError, ShapeError
from gnet.plugins.geometric_images import (
    GeometricImage,
    curl,
    curl_filter,
    divergence,
    gradient,
    gradient_filter,
    laplacian,
    laplacian_filter,
    plot_image,
    plot_images,
)
from gnet.plugins.tensors import B
from tests.plugins.geometric_images.slow import drawn

N = 32
H = 2 * math.pi / N


def wave():
    x, y = torch.meshgrid(*[H * torch.arange(N, dtype=torch.float64)] * 2, indexing="ij")
    return x, y, GeometricImage(x.sin() * (2 * y).cos(), 2)


def test_waves_are_multiplied_by_known_factors():
    x, y, f = wave()
    factor = -(4 - 2 * math.cos(H) - 2 * math.cos(2 * H)) / H**2
    assert factor == pytest.approx(-4.945650687, abs=1e-9)
    torch.testing.assert_close(laplacian(f, H).data, factor * f.data, rtol=0, atol=1e-11)
    assert math.sin(H) / H == pytest.approx(0.993586851, abs=1e-9)
    slopes = gradient(f, H)
    torch.testing.assert_close(slopes.data[..., 0], math.sin(H) / H * x.cos() * (2 * y).cos(), rtol=0, atol=1e-12)
    along_y = -math.sin(2 * H) / H * x.sin() * (2 * y).sin()
    torch.testing.assert_close(slopes.data[..., 1], along_y, rtol=0, atol=1e-12)
    box = laplacian(f, H, "box").data / f.data.where(f.data.abs() > 0.1, math.nan)
    assert float(box.nanmedian()) == pytest.approx(-5 * (1 - 5 * H**2 / 12), rel=1e-3)  # isotropic error h^2 |k|^4 / 12


def test_identities(rng):
    f, u = drawn(rng, side=8), drawn(rng, 2, 1, side=8)
    assert float(curl(gradient(f)).data.abs().max()) < 1e-14
    turned = gradient(f).levi_civita(0)  # its divergence is zero, too
    assert float(divergence(turned).data.abs().max()) < 1e-14
    wide = sum(f.translate(s).data for s in ([2, 0], [-2, 0], [0, 2], [0, -2])) - 4 * f.data
    torch.testing.assert_close(divergence(gradient(f, 0.5), 0.5).data, wide / (4 * 0.25))
    by_filter = u.conv(curl_filter(0.5)).contract(0, 1)
    assert by_filter.kind == curl(u, 0.5).kind == (0, -1)
    torch.testing.assert_close(by_filter.data, curl(u, 0.5).data)
    v = drawn(rng, 3, 1, side=5)
    assert curl(v).kind == (1, -1)
    assert float(divergence(curl(v)).data.abs().max()) < 1e-14
    d = gradient(v).data
    torch.testing.assert_close(curl(v).data[..., 0], d[..., 2, 1] - d[..., 1, 2])


@pytest.mark.parametrize("d", [2, 3])
def test_filters_are_invariant_and_a_one_sided_difference_is_not(d):
    filters = [gradient_filter(d), laplacian_filter(d), *([curl_filter(), laplacian_filter(2, kind="box")] if d == 2 else [])]
    one_sided = gradient_filter(d).data.clone()
    one_sided[one_sided < 0] = 0
    for g in B(d).elements():
        for each in filters:
            torch.testing.assert_close(each.act(g).data, each.data)
    moved = [gradient_filter(d).like(one_sided).act(g).data for g in B(d).generators]
    assert any(not torch.equal(each, one_sided) for each in moved)


def test_what_is_refused(rng):
    with pytest.raises(ShapeError, match="no divergence"):
        divergence(drawn(rng))
    with pytest.raises(ShapeError, match="levi_civita"):
        curl(drawn(rng))
    for h in (0.0, -1.0, math.nan, math.inf):
        for of in (gradient, laplacian, lambda image, h: curl_filter(h), lambda image, h: laplacian(image, h, "box")):
            with pytest.raises(ConfigError, match="a distance h > 0 of two pixels"):
                of(drawn(rng), h)
    with pytest.raises(ConfigError, match="'box' in d = 3"):
        laplacian_filter(3, kind="box")


def test_pictures(rng, tmp_path):
    arrows = plot_image(drawn(rng, 2, 1, side=4), limit=2.0)
    (quiver,) = [each for each in arrows.collections if type(each).__name__ == "Quiver"]
    assert quiver.N == 16
    figure = plot_images([drawn(rng, 2, k, side=4) for k in (0, 1, 2)], ["scalars", "vectors", "tensors"])
    assert [axes.get_title() for axes in figure.axes] == ["scalars", "vectors", "tensors"]
    figure.savefig(tmp_path / "fields.png")
    with pytest.raises(ShapeError, match="one image in d = 2"):
        plot_image(drawn(rng, 2, 1, lead=(3,)))
    with pytest.raises(ShapeError, match="at least one image"):
        plot_images([])
