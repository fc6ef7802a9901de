"""The conversion of METR-LA's public files, on small ones: every format that needs no extra package, and what must not get in."""

import csv
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.metr_la import MetrLA
from datasets.prepare import metr_la as prepare
from gnet.errors import DataError, MissingExtraError
from tests.datasets.small_traffic import ADJ, IDS, N, T, made_up


@pytest.fixture
def arrays(rng) -> dict[str, np.ndarray]:
    return made_up(rng)


@pytest.fixture
def public(tmp_path, arrays) -> dict[str, Path]:
    """The public files: speeds as .csv, the graph as a pickle in the format of Python 2, in another order of sensors."""
    time = np.datetime64("2012-03-04T23:00") + arrays["minutes"].astype("timedelta64[m]")
    with open(tmp_path / "metr-la.csv", "w", newline="") as file:
        rows = [[str(at).replace("T", " ") + ":00", *row] for at, row in zip(time, arrays["speed"].tolist(), strict=True)]
        csv.writer(file).writerows([["", *IDS], *rows])
    np.savez(tmp_path / "metr-la.npz", speed=arrays["speed"].astype(np.float64), time=time, sensor_id=np.array(IDS))
    order = [3, 1, 0, 4, 2]
    ids = [IDS[place] for place in order]
    graph = [ids, {name: place for place, name in enumerate(ids)}, ADJ[np.ix_(order, order)]]
    (tmp_path / "adj_mx.pkl").write_bytes(pickle.dumps(graph, protocol=2))
    np.savez(tmp_path / "adj_mx.npz", adj=graph[2], sensor_id=np.array(ids))
    lines = ["index,sensor_id,latitude,longitude", "0,unused,0,0", *[f"1,{name},34.5,-118.25" for name in ids]]
    (tmp_path / "locations.csv").write_text("\n".join(lines))
    return {"speeds": tmp_path / "metr-la.csv", "graph": tmp_path / "adj_mx.pkl", "locations": tmp_path / "locations.csv"}


@pytest.mark.parametrize("speeds", ["metr-la.csv", "metr-la.npz"])
@pytest.mark.parametrize("graph", ["adj_mx.pkl", "adj_mx.npz"])
def test_writes_what_the_data_module_reads(public, tmp_path, arrays, speeds, graph):
    given = public | {"speeds": tmp_path / speeds, "graph": tmp_path / graph}
    assert prepare.convert(**given, out=tmp_path / "data" / "metr-la") == (T, N)
    module = MetrLA(root=str(tmp_path / "data"))
    assert torch.equal(module.traffic.speed, torch.as_tensor(arrays["speed"]))
    assert torch.equal(module.traffic.adj, torch.as_tensor(ADJ))
    assert (module.node_ids, module.traffic.labels[0]) == (IDS, "2012-03-04T23:00")


def test_is_a_command(public, tmp_path):
    script = Path(prepare.__file__)
    flags = [f"--{name}={path}" for name, path in public.items()]
    command = [sys.executable, str(script), *flags, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=script.parents[2])
    assert (done.returncode, done.stdout.strip()) == (0, f"{tmp_path / 'out'}: {T} steps, {N} sensors"), done.stderr
    with pytest.raises(SystemExit, match=r"error: .*nowhere.pkl: no such file"):
        prepare.main([*flags[:1], "--graph", str(tmp_path / "nowhere.pkl"), *flags[2:], "--out", str(tmp_path / "out")])


def test_a_pickle_runs_nothing(public, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    for harm in ([IDS, {}, Evil()], Evil()):
        public["graph"].write_bytes(pickle.dumps(harm, protocol=2))
        with pytest.raises(DataError, match=r"adj_mx.pkl: no graph of sensors: the pickle asks for \w+.mkdir"):
            prepare.read_graph(public["graph"])
    assert not (tmp_path / "made").exists()
    pickle.loads(public["graph"].read_bytes())  # the liar: what pickle itself does with it
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"a.", b"0", b"(lp0\nI1\n", b"\x80\x02]q\x00."])
def test_a_damaged_pickle_is_named(public, content):
    public["graph"].write_bytes(content)
    with pytest.raises(DataError, match=r"adj_mx.pkl: no graph of sensors"):
        prepare.read_graph(public["graph"])


def test_names_of_both_numpys_are_arrays(public, tmp_path):
    text = public["graph"].read_bytes()
    assert b"numpy._core.multiarray" in text or b"numpy.core.multiarray" in text
    other = text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    public["graph"].write_bytes(other)
    assert prepare.read_graph(public["graph"])[1].shape == (N, N)


def test_unknown_speeds_become_0(public, tmp_path):
    text = public["speeds"].read_text().splitlines()
    cells = text[1].split(",")
    text[1] = ",".join([cells[0], "", "nan", *cells[3:]])
    public["speeds"].write_text("\n".join(text))
    assert prepare.read_speeds(public["speeds"]).speed[0, :2].tolist() == [0, 0]


def test_h5_needs_pandas(tmp_path, monkeypatch):
    (tmp_path / "metr-la.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas tables"):
        prepare.read_speeds(tmp_path / "metr-la.h5")


def test_reads_h5(tmp_path, arrays):
    pandas = pytest.importorskip("pandas", reason="a .h5 is read by pandas: pip install pandas tables")
    pytest.importorskip("tables", reason="a .h5 is read by pandas: pip install pandas tables")
    index = np.datetime64("2012-03-04T23:00") + arrays["minutes"].astype("timedelta64[m]")
    pandas.DataFrame(arrays["speed"], index=index, columns=IDS).to_hdf(tmp_path / "metr-la.h5", key="df")
    table = prepare.read_speeds(tmp_path / "metr-la.h5")
    assert np.array_equal(table.speed, arrays["speed"])
    assert (table.sensor_ids, str(table.time[1])) == (IDS, "2012-03-04T23:05")


def test_files_that_do_not_fit(public, tmp_path):
    out = tmp_path / "out"
    bad = tmp_path / "bad"
    with pytest.raises(DataError, match=r"expected speeds as .h5, .csv or .npz, got '.txt'"):
        prepare.read_speeds(bad.with_suffix(".txt"))
    with pytest.raises(DataError, match=r"expected the graph as .pkl or .npz, got 'no ending'"):
        prepare.read_graph(bad)
    bad.with_suffix(".csv").write_text("time,a\nyesterday,1\n")
    with pytest.raises(DataError, match=r"bad.csv: no table of speeds: .*yesterday"):
        prepare.read_speeds(bad.with_suffix(".csv"))
    bad.with_suffix(".csv").write_text("time,a\n,1\n")
    with pytest.raises(DataError, match=r"bad.csv: row 0 has no time"):
        prepare.read_speeds(bad.with_suffix(".csv"))
    np.savez(bad.with_suffix(".npz"), speed=np.ones((2, 1)), time=np.array(["2012-03-01"]), sensor_id=np.array(["a"]))
    with pytest.raises(DataError, match=r"expected speeds \(times, sensors\), got \(2, 1\), 1 times and 1 sensors"):
        prepare.read_speeds(bad.with_suffix(".npz"))
    with pytest.raises(DataError, match=r"bad.npz: no graph of sensors: .*adj"):
        prepare.read_graph(bad.with_suffix(".npz"))
    np.savez(bad.with_suffix(".npz"), adj=np.eye(3), sensor_id=np.array(["a", "b"]))
    with pytest.raises(DataError, match=r"expected a row and a column for each of the 2 sensors, got \(3, 3\)"):
        prepare.read_graph(bad.with_suffix(".npz"))
    np.savez(bad.with_suffix(".npz"), adj=np.eye(2), sensor_id=np.array(["a", "b"]))
    with pytest.raises(DataError, match="other sensors than in"):
        prepare.convert(public["speeds"], bad.with_suffix(".npz"), public["locations"], out)
    public["locations"].write_text("index,sensor_id,latitude,longitude\n0,9,34,-118\n")
    with pytest.raises(DataError, match=r"4 of 5 sensors have no location, the first are \['773869'"):
        prepare.convert(**public, out=out)
