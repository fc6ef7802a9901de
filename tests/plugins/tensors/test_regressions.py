"""The synthetic regressions: targets by hand, their symmetry, scalings that keep it, and a run in small."""

import math

import pytest
import torch

from gnet.errors import ConfigError
from gnet.measures import equivariance_error
from gnet.plugins.tensors.experiment import PUBLISHED, SIZES, SyntheticRegressions
from gnet.plugins.tensors.tasks import inertia_target, o5_target, particle_target, task


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


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="got 'gravity'"):
        SyntheticRegressions(["gravity"])
    with pytest.raises(ConfigError, match="sizes >= 2"):
        SyntheticRegressions(sizes=[1])
