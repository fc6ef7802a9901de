"""The command line: words, configs, misspelled options, what a study resolves, and the traps of Lightning and jsonargparse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from gnet.cli import config_path, main, resolve_config, trial_parser, with_config_paths
from gnet.errors import ConfigError
from gnet.training.symmetry import Coarsened, as_symmetry
from gnet.training.trial import instantiate

ROOT = Path(__file__).resolve().parent.parent
ALL = sorted((ROOT / "configs").rglob("*.yaml"))
SIMULATIONS = [path for path in ALL if "simulation" in yaml.safe_load(path.read_text())]
CONFIGS = [path for path in ALL if path not in SIMULATIONS]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What one failing command prints."""
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_help_and_version_import_nothing_more_than_gnet_does():
    code = (
        "import sys, gnet; before = set(sys.modules); from gnet.cli import main; main(['--help']); main(['--version']);"
        "more = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "sys.exit(str(more & {'torch', 'lightning', 'jsonargparse', 'sklearn', 'matplotlib'}) if more & "
        "{'torch', 'lightning', 'jsonargparse', 'sklearn', 'matplotlib'} else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for word in ("fit", "validate", "test", "predict", "study", "gnet "):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fti"], "there is no command 'fti'; did you mean fit? The commands are fit, validate, test, predict, study"),
        (["fit", "--model.hiden_channels", "3"], "no option --model.hiden_channels; did you mean --model.hidden_channels?"),
        (["fit", "--trainer.max_epoch=3"], "no option --trainer.max_epoch; did you mean --trainer.max_epochs?"),
        (
            ["fit", "--model.symmetry", "Symetric"],
            "there is no class 'Symetric'; did you mean Symmetric? Known are Automatic, Automorphism, ",
        ),
        (["fit", "--model.symmetry", "Symmetric", "--model.symmetry.num_clusters", "4"], "Symmetric takes no 'num_clusters'"),
        (["fit", "--optimizer", "Adm"], "no class 'Adm'; did you mean Adam? Known are ASGD, Adadelta, "),
        (["fit", "--lr_scheduler", "StepL"], "no class 'StepL'; did you mean StepLR? Known are ChainedScheduler, ConstantLR, "),
        (["fit", "--model.project_onto=Symetric"], "did you mean Symmetric? Known are Automatic, Automorphism, Coarsened, "),
        (
            ["fit", "--model.symmetry", "my_rules.Shifts"],
            "there is no module 'my_rules'; put its file beside train.py, or install it",
        ),
        (["simulate", "--quik"], "there is no option --quik; did you mean --quick?"),
        (["fit", "--trainer.logger=CSVLoger"], "there is no class 'CSVLoger'; give its import path"),
        (["fit", "--data", "Digit"], "there is no class 'Digit'; did you mean Digits?"),
        (["fit", "--data.num_trian=3"], "Digits takes no 'num_trian'; did you mean num_train?"),
        (["fit", "--data.seed=3"], "give --seed_everything instead of --data.seed"),
        (["fit", "--model.hidden_channels=many"], "model.hidden_channels: expected int, got 'many'"),
        (["fit", "--model.norm=bach"], "model.norm: expected one of batch, layer or null, got 'bach'; did you mean batch?"),
        (["fit", "--data.task=imputee", "--data=FromFiles"], "data.task: expected one of impute, forecast, regress"),
        (["fit", "--model.symmetry=Coarsened", "--model.symmetry.method=spectrl"], "got 'spectrl'; did you mean spectral?"),
        (["fit", "--lr=0.1"], "there is no option --lr; did you mean --model.lr?"),
        (["fit", "--epochs=20"], "there is no option --epochs; did you mean --trainer.max_epochs?"),
        (["fit", "--clusters=4"], "there is no option --clusters; did you mean --model.symmetry.num_clusters?"),
        (["fit", "--model.hidden=20"], "there is no option --model.hidden; did you mean --model.hidden_channels?"),
        (["fit", "my.yaml"], "there is no place for 'my.yaml': every option has a name; did you mean --config my.yaml?"),
        (["fit", "--model.lr=-1"], "expected lr > 0"),
        (["fit", "--config", "gnet:digts"], "gnet has no config 'digts'; there are gnet:digits"),
        (["fit", "--ckpt_path=none.ckpt"], "none.ckpt: no such checkpoint"),
    ],
)
def test_errors_are_one_line_with_the_nearest_fix(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
    assert message in error_of(capsys, *arguments)


def test_a_config_that_is_no_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "net.yaml").write_text("model:\n  hidden_channels 16\n  num_layers: 3\n")
    assert "net.yaml is no YAML: " in error_of(capsys, "fit", "--config", str(tmp_path / "net.yaml"))


def test_a_net_of_other_data_is_told_by_its_graph_before_its_symmetry_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shapes = ["--data.num_train=20", "--data.num_val=10", "--model.hidden_channels=2", "--trainer.max_epochs=1"]
    assert main(["fit", "--data=Digits", "--model.symmetry.num_clusters=32", *shapes]) == 0
    np.savez("x.npz", x=np.random.default_rng(0).normal(size=(30, 12, 1)))
    Path("edges.csv").write_text("source,target\n" + "".join(f"{node},{node + 1}\n" for node in range(11)))
    files = ["--data=FromFiles", "--data.signals=x.npz", "--data.edges=edges.csv", "--data.task=impute"]
    message = error_of(capsys, "test", *files, "--ckpt_path=best")
    assert "the checkpoint belongs to another graph: num_nodes is 64 there and 12 here" in message
    assert "give the --ckpt_path of these data" in message


def test_a_misspelled_key_of_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for text, message in (
        ("model:\n  hiden_channels: 3\n", "no setting model.hiden_channels; did you mean model.hidden_channels?"),
        ("modle:\n  lr: 3\n", "there is no setting modle.lr; did you mean model.lr?"),
        ("data:\n  class_path: Digits\n  init_args: {num_trian: 3}\n", "Digits takes no 'num_trian'; did you mean num_train?"),
        ("model: [\n", "Problems parsing config"),
    ):
        file = tmp_path / "wrong.yaml"
        file.write_text(text)
        assert message in error_of(capsys, "fit", f"--config={file}")
        with pytest.raises(ConfigError):
            resolve_config([f"--config={file}"])


def test_a_file_that_says_nothing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "speeds.yaml"
    for content, message in (
        (b"", "speeds.yaml is empty; write settings into it"),
        (b"---\n# later\n", "speeds.yaml is empty; write settings into it"),
        ("seed_everything: 1  # für mich".encode("latin-1"), "speeds.yaml is no text in UTF-8 (invalid"),
    ):
        file.write_bytes(content)
        assert message in error_of(capsys, "fit", "--config", str(file))


def test_a_seed_out_of_bounds_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["fit", "--seed_everything", "-1"]) == 2
    assert "error: expected --seed_everything to be an integer in 0..4294967295: -1" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--record", "--trainer.default_root_dir"])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str):
    (tmp_path / "file").touch()
    small = [
        "--data.num_train=12",
        "--data.num_val=10",
        "--data.num_test=20",
        "--trainer.max_epochs=1",
        "--model.hidden_channels=1",
    ]
    words = ["fit"] if option.startswith("--trainer") else ["study", "--jobs=0", "--seeds=1", f"--out={tmp_path / 'out'}"]
    assert main([*words, *small, option, str(tmp_path / "file" / "below")]) == 2
    assert f"error: {tmp_path / 'file'}" in capsys.readouterr().err.splitlines()[-1]


def test_errors_of_other_files_stay_what_they_are(monkeypatch: pytest.MonkeyPatch):
    def broken(arguments: list[str]) -> int:
        raise FileNotFoundError(2, "No such file", "/elsewhere/file")

    monkeypatch.setattr("gnet.cli._dispatch", broken)
    with pytest.raises(FileNotFoundError):
        main(["fit", "--config", "here.yaml"])


def test_a_missing_file_lists_near_names(tmp_path: Path):
    (tmp_path / "speeds.yaml").write_text("seed_everything: 1\n")
    with pytest.raises(ConfigError, match=r"no config file .*speed\.yaml; near it: .*speeds\.yaml"):
        config_path(str(tmp_path / "speed.yaml"))
    assert with_config_paths(["-c", str(tmp_path / "speeds.yaml"), "--x"])[1] == str(tmp_path / "speeds.yaml")


def test_traceback_on_demand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GNET_TRACEBACK", "1")
    with pytest.raises(ConfigError, match="no command"):
        main(["fti"])


def test_print_config_stops_after_printing(capsys: pytest.CaptureFixture[str]):
    assert main(["fit", "--config", "gnet:digits", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["symmetry"]["class_path"].endswith("Coarsened")


def test_the_seed_is_zero_unless_given_and_reaches_model_and_data():
    config = resolve_config([])
    assert (config["seed_everything"], config["model"]["seed"], config["data"]["init_args"]["seed"]) == (0, 0, 0)
    config = resolve_config(["--seed_everything", "7"])
    assert (config["seed_everything"], config["model"]["seed"], config["data"]["init_args"]["seed"]) == (7, 7, 7)


def test_short_class_names_and_dotted_overrides(tmp_path: Path):
    for arguments, expected in (
        (["--model.symmetry", "Symmetric"], {"class_path": "gnet.training.Symmetric", "init_args": {}}),
        (["--model.symmetry.num_clusters", "16"], Coarsened(16).as_config()),
        (["--model.symmetry", "Coarsened", "--model.symmetry.num_clusters", "16"], Coarsened(16).as_config()),
        (["--config=gnet:digits", "--model.symmetry.num_clusters=4"], Coarsened(4, "patches").as_config()),
    ):
        assert as_symmetry(resolve_config(arguments)["model"]["symmetry"]) == as_symmetry(expected)
    file = tmp_path / "a.yaml"
    file.write_text(
        "model:\n  symmetry: Symmetric\n  lr: 1e-3\ndata: Digits\nstudy:\n  variants: {S64: {model.symmetry: Symmetric}}\n"
    )
    config = resolve_config([f"--config={file}", "--data.num_train=30"])
    assert config["model"]["symmetry"]["class_path"] == "gnet.training.Symmetric"
    assert config["model"]["lr"] == 0.001  # jsonargparse reads 1e-3 as the number, YAML 1.1 would read a text
    assert config["data"]["init_args"]["num_train"] == 30
    assert config["study"] == {"variants": {"S64": {"model.symmetry": "Symmetric"}}}


def test_defaults_of_one_data_class_are_not_carried_over_to_another():
    chosen = resolve_config(["--data=MNIST", "--seed_everything=2"])["data"]["init_args"]
    assert (chosen["mask_side"], chosen["num_test"], chosen["seed"]) == (14, 1000, 2)
    chosen = resolve_config(["--data=FromFiles", "--data.signals=signals.csv"])["data"]["init_args"]
    assert chosen["num_train"] is None


def test_a_variant_is_a_set_of_overrides():
    overrides = {"model.symmetry.num_clusters": 16, "model.symmetry": "Coarsened", "model.act": None, "optimizer": "LBFGS"}
    config = resolve_config(["--config=gnet:digits", "--trainer.max_epochs=7"], overrides)
    assert as_symmetry(config["model"]["symmetry"]).num_clusters == 16  # type: ignore[attr-defined]
    assert config["model"]["act"] is None
    assert config["trainer"]["max_epochs"] == 7
    assert config["optimizer"]["class_path"] == "torch.optim.LBFGS"
    assert json.loads(json.dumps(config)) == config
    whole = resolve_config([], {"model.symmetry": Coarsened(9, "patches", 2).as_config()})
    assert as_symmetry(whole["model"]["symmetry"]) == Coarsened(9, "patches", 2)
    with pytest.raises(ConfigError, match=r"did you mean --model\.hidden_channels"):
        resolve_config([], {"model.hiden_channels": 3})


def test_trials_take_every_option_of_fit():
    known = {option for action in trial_parser()._actions for option in action.option_strings}
    assert {"--config", "--seed_everything", "--model.lr", "--trainer.max_epochs", "--optimizer", "--data"} <= known


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_configs_open_with_their_figure_and_command(path: Path):
    head = path.read_text().split("\n\n")[0]
    assert head.startswith("# ")
    assert "python train.py" in head
    assert "1e-" not in path.read_text().replace("1.0e-", "")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_of_nets_resolve(path: Path):
    config = resolve_config([f"--config={path}"])
    assert instantiate(config["model"]["symmetry"])


@pytest.mark.parametrize("path", SIMULATIONS, ids=lambda path: path.stem)
def test_simulations_and_nets_are_not_mixed_up(path: Path, capsys: pytest.CaptureFixture[str]):
    for word in ("fit", "study"):
        assert f"python -m gnet simulate --config {path}" in error_of(capsys, word, f"--config={path}")
    assert f"{CONFIGS[0]} has no key simulation; it is a config for" in error_of(capsys, "simulate", "-c", str(CONFIGS[0]))


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_published_configs_follow_the_protocol(name: str):
    config = resolve_config([f"--config={ROOT / 'configs' / 'inpainting' / f'{name}.yaml'}"])
    model, data = config["model"], config["data"]["init_args"]
    expected = {"hidden_channels": 28, "num_layers": 2, "parametrization": "reference", "init": "reference", "bias": "shared"}
    assert {key: model[key] for key in expected} == expected
    assert (model["lr"], config["trainer"]["max_epochs"], data["batch_size"]) == (0.01, 500, None)
    assert (data["mask_side"], data["test_masks"]) == ({"mnist": 14, "fashion": 20}[name], "run")
    assert as_symmetry(model["symmetry"]).method == "patches"  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    small = [
        "--data.num_train=20",
        "--data.num_val=11",
        "--data.num_test=23",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
    ]
    arguments = [*small, "--trainer.enable_progress_bar=false", "--model.hidden_channels=3", f"--trainer.default_root_dir={root}"]
    assert main(["fit", "--config=gnet:digits", *arguments]) == 0
    return root / "lightning_logs" / "version_0" / "checkpoints"


@pytest.mark.parametrize(
    ("command", "file", "argument", "message"),
    [
        (
            "test",
            "last",
            "--model.hidden_channels=32",
            r"--model.hidden_channels is 32, but .*last.ckpt was trained with 3; leave",
        ),
        ("test", "last", "--model.hidden_channels=28", "--model.hidden_channels is 28, but"),  # explicit, though the default
        (
            "fit",
            "last",
            "--model.symmetry.num_clusters=4",
            r"Coarsened\(num_clusters=4, .* was trained with Coarsened\(num_clusters=",
        ),
        ("predict", "best", "--model.symmetry=Symmetric", r"--model.symmetry is Symmetric\(\), but .*best.ckpt was trained with"),
        ("fit", "last", "--seed_everything=4", "--seed_everything is 4, but .* was trained with 0"),
        ("fit", "last", "--optimizer=LBFGS", "--optimizer is torch.optim.LBFGS, but .* was trained with Adam of the model"),
        ("fit", "best", "--trainer.max_epochs=3", "best.ckpt holds weights without the optimiser.*take last.ckpt"),
    ],
)
def test_a_checkpoint_refuses_arguments_it_contradicts(checkpoint, capsys, command, file, argument, message):
    import re

    assert re.search(message, error_of(capsys, command, f"--ckpt_path={checkpoint / file}.ckpt", argument))


def test_a_config_file_yields_to_the_checkpoint_and_says_so(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = ["--data.num_train=20", "--data.num_val=11", "--data.num_test=23", "--trainer.accelerator=cpu"]
    arguments = [*common, f"--ckpt_path={checkpoint / 'best.ckpt'}", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["validate", "--config=gnet:digits", *arguments]) == 0
    assert "note: hidden_channels of the model are those of" in capsys.readouterr().err


def test_a_foreign_package_called_datasets_does_not_disturb(tmp_path: Path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("raise RuntimeError('the wrong datasets')\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "fit", "--data", "MNIST", "--print_config"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "class_path: datasets.MNIST" in done.stdout, done.stderr


def test_a_foreign_package_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("raise RuntimeError('the wrong datasets')\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve_config([])["data"]["class_path"] == "gnet.training.Digits"
    assert "datasets" not in sys.modules


def test_what_a_constructor_refuses_is_one_clean_line(capsys):
    assert main(["fit", "--config", "gnet:digits", "--data.mask_side", "9"]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("error: expected mask_side in 1..7")
    assert main(["fit", "--config", "gnet:digits", "--data.batch_size", "0"]) == 2
    assert "error: expected batch_size >= 1" in capsys.readouterr().err
