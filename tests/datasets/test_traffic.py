"""Speeds, roads and locations from files: what fits together is read, what does not is named."""

import numpy as np
import pytest
import torch

from datasets.metr_la import MetrLA
from datasets.traffic import KEYS, read_traffic
from gnet.errors import DataError
from tests.datasets.small_traffic import IDS, N, T, made_up, write


@pytest.fixture
def arrays(rng) -> dict[str, np.ndarray]:
    return made_up(rng)


@pytest.mark.parametrize("name", [*KEYS, "graph_sensor_locations.csv"])
def test_a_missing_file_names_the_script_and_the_keys(tmp_path, name):
    (write(tmp_path) / "metr-la" / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing; datasets/prepare/metr_la.py makes metr_la.npz") as caught:
        MetrLA(root=str(tmp_path)).setup()
    for key in ("speed, minutes, start, sensor_id", "adj, sensor_id", "index, sensor_id, latitude, longitude"):
        assert key in str(caught.value)


def test_root_is_the_argument_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GNET_DATA", str(write(tmp_path)))
    assert len(MetrLA().traffic.speed) == T
    with pytest.raises(DataError, match="is missing"):
        MetrLA(root=str(tmp_path / "other")).setup()


@pytest.mark.parametrize("key", ["speed", "minutes", "start", "sensor_id"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(DataError, match=rf"metr_la.npz: expected the keys .*\['{key}'\] missing"):
        MetrLA(root=str(write(tmp_path, **{key: None}))).setup()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensor_id": np.array([*IDS[:4], IDS[0]])}, "sensor_id '773869' occurs twice"),
        ({"adj_sensor_id": np.array([*IDS[:4], "8"])}, r"adj_mx.npz: expected the 5 sensors .*: \['717447', '8'\]"),
        ({"adj_sensor_id": np.array(IDS[::-1])}, r"adj_mx.npz: the sensors are in another order .* place 0 is '717447' here"),
        ({"located": [[0, "9", 34, -118]]}, r"locations.csv: expected the 5 sensors of metr_la.npz, got 1"),
        (
            {"located": [[place, name, 34, -118] for place, name in enumerate([IDS[1], IDS[0], *IDS[2:]])]},
            r"locations.csv: the sensors are in another order .* place 0 is '767541' here and '773869' there",
        ),
        ({"located": [[0, "9", 95, -118]]}, r"line 2: expected a latitude and a longitude in degrees, got 95 and -118"),
        ({"located": [[0, "9", "", -118]]}, r"line 2: expected a latitude and a longitude in degrees, got nan"),
        ({"speed": np.ones((T, 4))}, r"expected speed \(T, 5\) with a column per sensor_id .* got \(120, 4\) and \(120,\)"),
        ({"speed": np.ones((T, 5, 1))}, r"expected speed \(T, 5\) .* got \(120, 5, 1\)"),
        ({"minutes": np.arange(7)}, r"got \(120, 5\) and \(7,\)"),
        ({"adj": np.eye(4)}, r"expected adj of shape \(5, 5\), row from and column to, got \(4, 4\)"),
        (
            {"adj": np.eye(5) - 0.1},
            r"expected adj to be finite and >= 0 \(0 is no edge\), got -0.1 at row 0, column 1 \(20 such",
        ),
        ({"minutes": 5.0 * np.arange(T)}, "expected minutes to be integers since start, got float64"),
        ({"start": np.array("the first of March")}, "metr-la: .*the first of March"),
        ({"start": np.array(["2012-03-01", "2012-03-02"])}, "metr-la: "),
        ({"speed": np.array([["fast"]])}, "metr-la: could not convert string to float"),
        ({"speed": np.array([[None]])}, "metr_la.npz: corrupt, truncated, or no .npz of plain arrays"),
    ],
)
def test_files_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        MetrLA(root=str(write(tmp_path, **changes))).setup()


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_a_speed_that_is_none_is_placed(tmp_path, arrays, value):
    arrays["speed"][17, 3] = value
    with pytest.raises(DataError, match=rf"expected speed to be finite and >= 0 .*, got {value:g} at row 17, column 3 \(1 such"):
        MetrLA(root=str(write(tmp_path, **arrays))).setup()


@pytest.mark.parametrize(
    ("minutes", "found"),
    [
        (np.delete(5 * np.arange(T + 1), 40), "5 minutes at first and 10 after row 39"),
        (np.zeros(T, dtype=int), "0 minutes at first and 0 after row 0"),
        (-5 * np.arange(T), "-5 minutes at first"),
    ],
)
def test_a_step_that_is_not_constant_is_placed(tmp_path, minutes, found):
    with pytest.raises(DataError, match=rf"expected minutes to grow by a constant step, got {found}.*fill gaps with rows of 0"):
        MetrLA(root=str(write(tmp_path, minutes=minutes))).setup()


@pytest.mark.parametrize("damage", ["truncated", "some bytes", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
    file = write(tmp_path) / "metr-la" / "adj_mx.npz"
    np.savez_compressed(file, adj=np.eye(5), sensor_id=np.array(IDS))
    good = file.read_bytes()
    bad = {"truncated": good[:100], "some bytes": good[:110] + bytes(40) + good[150:], "empty": b""}[damage]
    file.write_bytes(bad)
    with pytest.raises(DataError, match=r"adj_mx.npz: corrupt, truncated, or no .npz"):
        MetrLA(root=str(tmp_path)).setup()


def test_a_changed_file_is_read_again(tmp_path):
    before = read_traffic(write(tmp_path) / "metr-la").speed
    after = read_traffic(write(tmp_path, speed=np.ones((T, N), dtype=np.float64)) / "metr-la").speed
    assert not torch.equal(before, after)
