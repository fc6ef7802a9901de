"""Prediction files: ids, time stamps, units."""

import csv

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError
from gnet.training.datamodule import Batch
from gnet.training.module import GNetModule
from gnet.training.predict import WritePredictions, write_predictions
from tests.training.small import quiet_trainer, small_digits, small_module


@pytest.mark.parametrize("name", ["predictions.csv", "deep/predictions.npz"])
def test_predictions_have_ids_labels_and_physical_units(tmp_path, name: str, capsys: pytest.CaptureFixture[str]):
    data, module = small_digits(batch_size=10), small_module()
    batch = data.samples("predict").all()
    mask = batch.mask.clone()
    mask[2, 7] = False
    data.samples("predict").batch = Batch(batch.x, batch.y, mask)
    write = WritePredictions(str(tmp_path / name))
    trainer = quiet_trainer(write)
    trainer.predict(module, datamodule=data, return_predictions=False)
    assert f"predictions of 23 samples: {tmp_path / name}" in capsys.readouterr().out
    with torch.no_grad():
        expected = data.scaling.y.inverse(module(batch.x))
    truth = data.scaling.y.inverse(batch.y)
    if name.endswith(".npz"):
        with np.load(tmp_path / name) as found:
            assert np.allclose(found["predictions"], expected, atol=1e-5)
            assert np.isnan(found["targets"][2, 7])
            assert np.allclose(found["targets"][3], truth[3], atol=1e-6)
            assert found["samples"].tolist() == data.sample_labels("predict")
            assert found["nodes"].tolist() == data.node_ids
        return
    with open(tmp_path / name, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 23 * 64
    row = rows[5 * 64 + 9]
    assert (row["sample"], row["node"], row["channel"]) == (data.sample_labels("predict")[5], "1,1", "0")
    assert float(row["prediction"]) == pytest.approx(float(expected[5, 9, 0]), abs=1e-5)
    assert float(row["target"]) == pytest.approx(float(truth[5, 9, 0]), abs=1e-6)
    assert rows[2 * 64 + 7]["target"] == ""


@pytest.mark.parametrize("units", ["data", "model"])
def test_a_trainer_predicts_in_the_units_of_the_file_unless_asked_for_those_of_the_model(tmp_path, units):
    data, module = small_digits(batch_size=10), small_module(predict_units=units)
    trainer = quiet_trainer(WritePredictions(str(tmp_path / "p.npz")))
    found = torch.cat(trainer.predict(module, datamodule=data))
    with torch.no_grad():
        output = module(data.predict_arrays().x)
    physical = data.scaling.y.inverse(output)
    torch.testing.assert_close(found, physical if units == "data" else output)
    assert not torch.allclose(physical, output, atol=0.1)
    with np.load(tmp_path / "p.npz") as file:  # physical in any case
        assert np.allclose(file["predictions"], physical, atol=1e-5)


def test_units_of_predictions_are_chosen_anew_for_a_checkpoint(tmp_path):
    data, module, trainer = small_digits(), small_module(), quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    again = GNetModule.load_from_checkpoint(tmp_path / "net.ckpt", predict_units="model").eval()
    [found] = quiet_trainer().predict(again, datamodule=data)
    torch.testing.assert_close(found, again(data.predict_arrays().x))


def test_default_file_lies_in_the_folder_of_the_run(tmp_path):
    write = WritePredictions()
    quiet_trainer(write, default_root_dir=tmp_path).predict(small_module(), datamodule=small_digits())
    assert write.path == tmp_path / "predictions.csv"
    assert write.path.is_file()


def test_one_value_per_graph_has_no_node(tmp_path):
    path = tmp_path / "p.csv"
    write_predictions(path, np.array([[1.0, 2.0]]), np.array([[np.nan, 2.5]]), ["a"], ["n0", "n1"])
    assert path.read_text().splitlines()[1:] == ["a,,0,1.0,", "a,,1,2.0,2.5"]


def test_steps_of_a_forecast_have_their_own_channels(tmp_path):
    path = tmp_path / "p.csv"
    values = np.arange(6.0).reshape(1, 1, 6)  # three steps of two channels
    write_predictions(path, values, values + 10, ["8"], ["a"], times=[["9", "10", "11"]])
    assert path.read_text().splitlines() == [
        "sample,node,channel,prediction,target,step,time",
        "8,a,0,0.0,10.0,1,9",
        "8,a,1,1.0,11.0,1,9",
        "8,a,0,2.0,12.0,2,10",
        "8,a,1,3.0,13.0,2,10",
        "8,a,0,4.0,14.0,3,11",
        "8,a,1,5.0,15.0,3,11",
    ]


def test_numbers_have_the_digits_of_their_type(tmp_path):
    write_predictions(tmp_path / "p.csv", np.array([[0.1]], np.float32), np.array([[0.1]]), ["a"], [])
    assert (tmp_path / "p.csv").read_text().splitlines()[1] == "a,,0,0.1,0.1"


def test_other_formats_are_refused():
    with pytest.raises(ConfigError, match=r"ends in \.csv or \.npz, got out\.parquet"):
        WritePredictions("out.parquet")
