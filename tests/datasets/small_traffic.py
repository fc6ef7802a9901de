"""A made-up folder of traffic at five sensors, which the tests of METR-LA share."""

import csv
from pathlib import Path

import numpy as np
import torch

IDS = ["773869", "767541", "9", "10", "717447"]
T, N = 120, 5
ADJ = np.eye(5, dtype=np.float32)
ADJ[0, 1], ADJ[1, 0], ADJ[1, 2], ADJ[3, 2] = 0.9, 0.2, 0.25, 0.6


def made_up(rng: torch.Generator) -> dict[str, np.ndarray]:
    """Speeds of 1 to 66 mph, of which every sixth is missing, from Sunday 23:00 on."""
    speed = 1 + 65 * torch.rand(T, N, generator=rng)
    speed[torch.rand(T, N, generator=rng) < 1 / 6] = 0
    minutes = 5 * np.arange(T, dtype=np.int32)
    return {"speed": speed.numpy(), "minutes": minutes, "start": np.array("2012-03-04T23:00"), "sensor_id": np.array(IDS)}


def write(root: Path, **changes) -> Path:
    """A folder of traffic; ``changes`` replace arrays, None leaves a key out; ``located`` are the rows of the locations."""
    folder = root / "metr-la"
    folder.mkdir(exist_ok=True)
    arrays = {"adj": ADJ, **made_up(torch.Generator().manual_seed(0)), **changes}
    roads = {"adj": arrays.pop("adj"), "sensor_id": arrays.pop("adj_sensor_id", np.array(IDS))}
    located = arrays.pop("located", [[place, name, 34 + place / 100, -118.0] for place, name in enumerate(IDS)])
    for name, given in (("metr_la.npz", arrays), ("adj_mx.npz", roads)):
        np.savez(folder / name, **{key: value for key, value in given.items() if value is not None})
    with open(folder / "graph_sensor_locations.csv", "w", newline="") as file:
        csv.writer(file).writerows([["index", "sensor_id", "latitude", "longitude"], *located])
    return root
