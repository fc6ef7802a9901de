"""Pictures of several images: settings that no picture has are refused."""

import pytest
import torch

from gnet.errors import ShapeError
from gnet.plugins.geometric_images import GeometricImage, plot_images


def test_columns_and_titles_are_checked():
    images = [GeometricImage(torch.randn(4, 4), 2) for _ in range(3)]
    with pytest.raises(ShapeError, match="columns >= 1 and 3 titles or none, got 0 columns and no titles"):
        plot_images(images, columns=0)
    for titles in (["one"], []):
        with pytest.raises(ShapeError, match=f"got 4 columns and {len(titles)} titles"):
            plot_images(images, titles)
    figure = plot_images(images, ["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
