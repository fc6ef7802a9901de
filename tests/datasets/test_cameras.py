"""Cameras: what they keep, where they put what, and what is none."""

import pytest
import torch

from datasets.cameras import ROOM, Camera, Cameras
from gnet.errors import ConfigError


@pytest.mark.parametrize("camera", ROOM)
def test_a_camera_keeps_distances_and_orientation_and_sees_its_target_in_the_middle(camera, rng):
    cameras, which = Cameras([camera]), torch.zeros(1, dtype=torch.long)
    points = 1000 * torch.randn(1, 7, 3, generator=rng)
    seen = cameras.seen(points, which)
    torch.testing.assert_close(torch.cdist(seen, seen), torch.cdist(points, points), rtol=1e-4, atol=1e-1)
    assert torch.det(camera.rotation) == pytest.approx(1)
    target = torch.tensor([[[400.0, 1000.0, 200.0], [400.0, 1100.0, 200.0]]])
    seen = cameras.seen(target, which)
    pixels = cameras.pixels(seen, which)[0]
    torch.testing.assert_close(pixels[0], torch.tensor([960.0, 540.0]), atol=1e-2, rtol=0)
    assert pixels[1, 1] < 540 - 10  # what is higher in the room is higher in the image, whose y points down
    assert pixels[1, 0] == pytest.approx(960, abs=1e-2)
    torch.testing.assert_close(cameras.normalised(pixels[None], which)[0, 0], torch.zeros(2), atol=1e-4, rtol=0)


def test_a_mirrored_camera_is_refused():
    with pytest.raises(ConfigError, match="or a reflection"):
        Camera(-ROOM[0].rotation, ROOM[0].position, ROOM[0].focal, ROOM[0].centre, (10, 10))


def test_right_is_right():
    """Looking along -z with y up, the world's x axis points to the right of the image."""
    cameras = Cameras([Camera.look_at((0, 0, 5000), (0, 0, 0), focal=1000, size=(100, 100))])
    which = torch.tensor([0])
    x, y = cameras.pixels(cameras.seen(torch.tensor([[[1000.0, 500.0, 0.0]]]), which), which)[0, 0].tolist()
    assert (x, y) == (pytest.approx(250), pytest.approx(-50))


def test_normalised_pixels_keep_the_aspect_of_the_image():
    cameras = Cameras([ROOM[0]])
    corners = torch.tensor([[[0.0, 0.0], [1920.0, 1080.0], [960.0, 540.0]]])
    expected = torch.tensor([[[-1.0, -0.5625], [1.0, 0.5625], [0.0, 0.0]]])
    torch.testing.assert_close(cameras.normalised(corners, torch.tensor([0])), expected)


def test_distortion_is_brown_s():
    plain = Camera.look_at((0, 0, 0), (0, 0, 1), focal=1000, size=(1000, 1000))
    k, p = torch.tensor([0.2, -0.3, 0.1]).double(), torch.tensor([0.01, -0.02]).double()
    bent = Camera(plain.rotation, plain.position, plain.focal, plain.centre, plain.size, k, p)
    x, y = 0.3, -0.2
    r = x * x + y * y
    factor = 1 + 0.2 * r - 0.3 * r**2 + 0.1 * r**3 + 0.01 * x - 0.02 * y
    cameras = Cameras([plain, bent])
    seen = torch.tensor([[[2 * x, 2 * y, 2.0]]]).repeat(2, 1, 1)
    found = cameras.pixels(seen, torch.tensor([0, 1]))[:, 0]
    expected = [[1000 * x + 500, 1000 * y + 500], [1000 * (x * factor + 0.01 * r) + 500, 1000 * (y * factor - 0.02 * r) + 500]]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Camera.look_at((0, 0, 0), (0, 5, 0), focal=1, size=(1, 1)), "looks straight up or down"),
        (lambda: Camera.look_at((0, 0, 0), (1, 0, 0), focal=0, size=(1, 1)), r"positive size and focal length, got \(1, 1\)"),
        (lambda: Camera.look_at((0, 0, 0), (1, 0, 0), focal=1, size=(0, 1)), r"positive size and focal length, got \(0, 1\)"),
        (lambda: Camera.from_quaternion((1, 1, 0, 0), (0, 0, 0), size=(1, 1)), r"norm 1, got \[1, 1, 0, 0\]"),
        (lambda: Camera(torch.eye(3) * 2, *[torch.ones(n) for n in (3, 2, 2)], (1, 1)), "expected a proper rotation"),
        (
            lambda: Camera(torch.eye(3), torch.tensor([0, 0, torch.nan]), *[torch.ones(2)] * 2, (1, 1)),
            r"position of shape \(3,\)",
        ),
        (lambda: Cameras([]), "at least one camera"),
    ],
)
def test_what_is_no_camera(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
