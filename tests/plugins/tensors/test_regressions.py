"""The synthetic regressions: targets by hand, their symmetry, scalings that keep it, and a run in small."""

import math

import pytest
import torch

from gnet.errors import ConfigError
from gnet.measures import equivariance_error
from gnet.plugins.tensors.experiment import PUBLISHED, SIZES, SyntheticRegressions
from gnet.plugins.tensors.tasks import inertia_target, o5_target, particle_target, task
from gnet.study.finished import FinishedRuns
from gnet.study.simulate import Measured


def test_targets_by_hand():
    x = torch.tensor([[1.0, 0, 0, 0, 0, 1, 1, 1, 0, 0]], dtype=torch.float64)
    assert float(o5_target(x)) == pytest.approx(math.sin(1) - 0.5 * 27**0.5 + 1 / 3**0.5, abs=1e-12)
    assert float(o5_target(x)) == pytest.approx(-1.179254957, abs=1e-9)
    bodies = torch.tensor([[1.0, 2, 1, 0, 0, 0, 1, 2]])
    assert inertia_target(bodies).reshape(3, 3).tolist() == [[10, 0, 0], [0, 9, -4], [0, -4, 3]]
    momenta = [1, 0.1, 0.2, 0.3, 0.5, -0.1, 0, 0.2, 0.4, 0.3, -0.2, 0.1, 0.2, 0.1, 0.1, -0.3]
    assert float(particle_target(torch.tensor([momenta], dtype=torch.float64))) == pytest.approx(0.7824, abs=1e-9)


@pytest.mark.parametrize("name", ["o5", "inertia", "particle"])
def test_targets_have_the_symmetry_and_scalings_keep_it(name, rng):
    its = task(name)
    x = its.draw(40, rng).double()
    assert equivariance_error(its.target, x, its.group, its.rep_in, its.rep_out, generator=rng).relative < 1e-10
    scaled = lambda x: its.target(x * its.scale(SAMPLE[name].to(x)))  # noqa: E731
    assert equivariance_error(scaled, x, its.group, its.rep_in, its.rep_out, generator=rng).relative < 1e-10
    entries = torch.linspace(0.5, 2.0, x.shape[1], dtype=torch.float64)  # the liar: a scale for each entry
    assert (
        equivariance_error(lambda x: its.target(x * entries), x, its.group, its.rep_in, its.rep_out, generator=rng).relative
        > 0.01
    )


SAMPLE = {name: task(name).draw(20, torch.Generator().manual_seed(0)) for name in ("o5", "inertia", "particle")}


def test_the_published_table_is_whole():
    assert all(len(values) == len(SIZES) for values in PUBLISHED.values())
    assert len(PUBLISHED) == 9


def test_a_run_in_small():
    simulation = SyntheticRegressions(["inertia"], sizes=[30], seeds=1, ch=30, layers=1, max_epochs=3, num_val=20, num_test=40)
    lines = simulation.run()
    assert [line.settings["model"] for line in lines] == ["emlp", "mlp", "mlp+aug"]
    assert all(0 < line.measured < 1e4 for line in lines)
    assert "(4.09)" in simulation.summary(lines)
    again = SyntheticRegressions(["inertia"], ["mlp"], [30], seeds=1, ch=30, layers=1, max_epochs=3, num_val=20, num_test=40)
    assert again.run()[0].measured == lines[1].measured


def test_a_kill_loses_one_run(tmp_path, monkeypatch):
    settings = {"sizes": [30], "ch": 8, "layers": 1, "max_epochs": 1, "num_val": 20, "num_test": 40}

    def begun(tasks, seeds):
        simulation = SyntheticRegressions(tasks, ["mlp"], seeds=seeds, **settings)
        named = {"class_path": "SyntheticRegressions", "init_args": {**settings, "tasks": tasks, "seeds": seeds}}
        simulation.finished = FinishedRuns.of(tmp_path, named, simulation.choosing)
        return simulation

    error, calls = SyntheticRegressions.error, []

    def killed(self, name, model, n, seed):
        if (name, seed) == ("inertia", 1):
            raise KeyboardInterrupt
        return error(self, name, model, n, seed)

    monkeypatch.setattr(SyntheticRegressions, "error", killed)
    with pytest.raises(KeyboardInterrupt):
        begun(["o5", "inertia"], 2).run()
    monkeypatch.setattr(SyntheticRegressions, "error", lambda self, *run: calls.append(run) or error(self, *run))
    lines = begun(["o5", "inertia"], 2).run()
    assert calls == [("inertia", "mlp", 30, 1)]
    assert lines == SyntheticRegressions(["o5", "inertia"], ["mlp"], seeds=2, **settings).run()
    calls.clear()
    assert begun(["inertia"], 1).run()[0].settings["task"] == "inertia" and not calls  # another choice of the same runs


def lines_of(errors: dict[tuple[str, str, int], float]) -> list[Measured]:
    return [
        Measured("test_mse", {"task": name, "model": model, "n": str(n)}, error, math.nan, math.nan)
        for (name, model, n), error in errors.items()
    ]


def published(tasks=("o5", "inertia", "particle"), models=("emlp",), sizes=SIZES) -> dict[tuple[str, str, int], float]:
    return {(name, model, n): PUBLISHED[name, model][SIZES.index(n)] for name in tasks for model in models for n in sizes}


def test_what_counts_as_reproduced():
    simulation = SyntheticRegressions()
    rules = simulation.pass_rules(lines_of(published()))
    assert len(rules) == 3 * 2 * 3
    assert all(is_met for _, is_met in rules)
    with_plain = simulation.pass_rules(lines_of(published(models=("emlp", "mlp", "mlp+aug"))))
    assert len(with_plain) == 3 * 2 * 5
    assert all(is_met for _, is_met in with_plain)
    assert simulation.pass_rules(lines_of(published(sizes=(30, 3000)))) == []

    def broken(**changes: float) -> list[str]:
        errors = published(["inertia"], ("emlp", "mlp", "mlp+aug"), (1000,))
        errors |= {("inertia", model.replace("_", "+"), 1000): error for model, error in changes.items()}
        return [rule for rule, is_met in simulation.pass_rules(lines_of(errors)) if not is_met]

    start = "inertia, 1000 samples, emlp"
    assert broken(emlp=0.135) == [f"{start}: below the published 0.13 of mlp+aug", f"{start}: below mlp+aug with 0.13 here"]
    assert broken(emlp=0.06) == [f"{start}: within a factor 2 of the published 0.128"]
    assert len(broken(emlp=3.3)) == 5
    assert broken(mlp_aug=0.12) == [f"{start}: below mlp+aug with 0.12 here"]
    assert broken(emlp=math.nan, mlp=math.nan, mlp_aug=math.nan) != []


def test_the_summary_judges_every_task_and_size():
    simulation = SyntheticRegressions(["inertia"], ["emlp"], [300, 1000], seeds=1)
    text = simulation.summary(lines_of(published(["inertia"], sizes=(300, 1000)) | {("inertia", "emlp", 1000): 0.2}))
    assert "- inertia, 300 samples, emlp: within a factor 2 of the published 0.299: met" in text
    assert "- inertia, 1000 samples, emlp: below the published 3.24 of mlp: met" in text
    assert "- inertia, 1000 samples, emlp: below the published 0.13 of mlp+aug: not met" in text
    assert text.count(": met") == 5 and text.count(": not met") == 1 and "nan" not in text


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="got 'gravity'"):
        SyntheticRegressions(["gravity"])
    with pytest.raises(ConfigError, match="sizes >= 2"):
        SyntheticRegressions(sizes=[1])
