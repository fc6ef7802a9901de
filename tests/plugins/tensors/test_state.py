"""What a layer is stands in its state; what is made in one mode of gradients, or cast, serves every other."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gnet.errors import CheckpointError
from gnet.groups import GeneratedGroup
from gnet.plugins.pendulum import field_of
from gnet.plugins.tensors import (
    EMLP,
    SO,
    Bilinear,
    D,
    Embed,
    Lorentz,
    O,
    Realified,
    RepLinear,
    Sp,
    T,
    U,
    regular,
    solvers,
    uniform_rep,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NETS = {
    "Bilinear": lambda seed: (Bilinear(8 * T(0) + 8 * T(1), O(3), generator=seeded(seed)), 32),
    "EMLP": lambda seed: (EMLP(4 * T(1), T(0), O(3), ch=64, layers=2, generator=seeded(seed)), 12),
    "HNN": lambda seed: (field_of("hnn", "O(2)", ch=64, generator=seeded(seed)), 12),
    "N-ODE": lambda seed: (field_of("node", "O(2)", ch=64, generator=seeded(seed)), 12),
}


@pytest.mark.parametrize("name", NETS)
def test_a_loaded_net_is_the_net_that_was_saved(name, rng):
    (saved, size), (other, _) = NETS[name](0), NETS[name](1)
    x = torch.randn(5, size, generator=rng)
    assert not torch.equal(saved(x), other(x))
    other.load_state_dict(saved.state_dict())
    assert torch.equal(saved(x), other(x))


def test_weights_alone_are_not_the_net(rng):
    """The liar: with other copies as maps the same weights are another function."""
    saved, other = (Bilinear(8 * T(0) + 8 * T(1), O(3), generator=seeded(seed)) for seed in (0, 1))
    with torch.no_grad():
        for mine, given in zip(other.parameters(), saved.parameters(), strict=True):
            mine.copy_(given)
    x = torch.randn(5, 32, generator=rng)
    assert not torch.allclose(saved(x), other(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RepLinear(2 * T(1), T(0) + T(1), O(3)),
        lambda: EMLP(2 * T(1), T(0), O(3), ch=20, layers=1),
    ],
    ids=["RepLinear", "EMLP"],
)
def test_a_net_called_in_inference_mode_can_be_trained(make, rng):
    net, x = make(), torch.randn(4, 6, generator=rng)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


class CastOnce(RepLinear):
    """A liar: keeps the tensors of inference mode."""

    _kept = None

    def dense(self):
        self._kept = super().dense() if self._kept is None else self._kept
        return self._kept


def test_tensors_of_inference_mode_that_stay_are_found(rng):
    layer, x = CastOnce(2 * T(1), T(0) + T(1), O(3)), torch.randn(4, 6, generator=rng)
    with torch.inference_mode():
        layer(x)
    with pytest.raises(RuntimeError, match="nference tensor"):
        layer(x.requires_grad_()).sum().backward()


def test_copies_of_bases_are_not_pickled(rng):
    layer = RepLinear(uniform_rep(20, O(3)), T(2), O(3))
    before = len(pickle.dumps(layer.maps))
    layer(torch.randn(2, 20, generator=rng))
    assert len(layer.maps._cast) > 0
    assert len(pickle.dumps(layer.maps)) == before
    loaded = pickle.loads(pickle.dumps(layer))
    x = torch.randn(2, 20, generator=rng)
    assert torch.equal(loaded(x), layer(x))
    assert isinstance(loaded, nn.Module)


# --- other processes ---

ABROAD = {
    "EMLP": lambda: (EMLP(5 * T(0) + 5 * T(1), T(2), O(3), ch=40, layers=1, generator=seeded(0)), 20),
    "pendulum": lambda: (field_of("node", "O(2)", ch=40, generator=seeded(0)), 12),
    "about an axis": lambda: (RepLinear(T(1) + T(2), T(1) + T(2), Embed(O(2), 3), generator=seeded(0)), 12),
    "svd": lambda: (RepLinear(T(2), T(2), SO(3), solver="svd", generator=seeded(0)), 9),
    "iterative": lambda: (RepLinear(T(2), T(2), SO(2), solver="iterative", generator=seeded(0)), 4),
    "symplectic": lambda: (RepLinear(T(1, 1), T(2), Sp(4), generator=seeded(0)), 16),
    "unitary": lambda: (RepLinear(T(1), T(2) + T(1), Realified(U(2)), generator=seeded(0)), 4),
    "regular": lambda: (RepLinear(T(1), regular(D(3)), D(3), generator=seeded(0)), 2),
}


def signal(size: int) -> torch.Tensor:
    return torch.randn(7, size, dtype=torch.float64, generator=seeded(1))


def abroad(folder: str) -> None:
    """In another process: how far nets of one seed, and nets loaded, are from those of the first; then with a liar's bases."""
    print(json.dumps([measured(Path(folder), True), measured(Path(folder), False)]))


def measured(folder: Path, is_honest: bool) -> dict[str, tuple[float, float, str]]:
    """Of each net: the distance by its seed, the distance with the weights that were saved, and what loading them said."""
    if not is_honest:
        solvers._known.clear()
        solvers.canonical = turned  # any basis of the space, as linear algebra has it
    found = {}
    for name, make in ABROAD.items():
        net, size = make()
        net, saved = net.double(), torch.load(folder / f"{name}.pt", weights_only=True)
        by_seed, refused = distance(net(signal(size)), saved["y"]), ""
        try:
            net.load_state_dict(saved["state"])
        except CheckpointError as error:
            refused = str(error)
            own = net.state_dict()
            net.load_state_dict(saved["state"] | {key: own[key] for key in own if key.endswith("_extra_state")})
        found[name] = by_seed, distance(net(signal(size)), saved["y"]), refused
    return found


def turned(basis: torch.Tensor) -> torch.Tensor:
    return basis @ torch.linalg.qr(torch.randn(2 * basis.shape[1:], dtype=basis.dtype, generator=seeded(2)))[0]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


def test_a_saved_net_is_the_same_function_in_every_process(tmp_path):
    """With other threads and other instructions linear algebra finds other bases of the same spaces."""
    for name, make in ABROAD.items():
        net, size = make()
        net = net.double()
        torch.save({"state": net.state_dict(), "y": net(signal(size)).detach()}, tmp_path / f"{name}.pt")
    threads = "2" if torch.get_num_threads() == 1 else "1"
    elsewhere = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "MKL_CBWR": "COMPATIBLE",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    code = f"from tests.plugins.tensors.test_state import abroad; abroad({str(tmp_path)!r})"
    run = subprocess.run([sys.executable, "-c", code], env=elsewhere, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    honest, lying = json.loads(run.stdout.splitlines()[-1])
    for name, (by_seed, loaded, refused) in honest.items():
        assert loaded < 1e-12 and not refused, name
        assert by_seed < 1e-6, name  # weights are drawn in float32
    del lying["regular"]  # whose maps are made without a solver
    for name, (_, loaded, refused) in lying.items():
        assert loaded > 1e-6 and "in other bases" in refused, name


# --- of another group ---


def test_a_state_of_another_group_or_type_is_refused():
    """Of T(1) -> T(1) all these groups have one map; of the shapes of weights nothing is seen."""
    state = RepLinear(T(1), T(1), SO(3)).state_dict()
    for liar, what in (
        (
            RepLinear(T(1), T(1), Lorentz(2)),
            r"expected a state of T\(1\) -> T\(1\) of O\(1,2\), got one of T\(1\) -> .* of SO\(3\)",
        ),
        (RepLinear(T(1), T(1), O(3)), r"of O\(3\), got one of .* of SO\(3\)"),
        (RepLinear(T(1), T(2), SO(3)), r"T\(1\) -> T\(2\) of SO\(3\), got one of T\(1\) -> T\(1\)"),
        (RepLinear(T(1), T(1), O(3).renamed("SO(3)")), "with other generators"),
    ):
        with pytest.raises(CheckpointError, match=what):
            liar.load_state_dict(state)
    pairs = Bilinear(T(0) + T(1), SO(3)).state_dict()
    with pytest.raises(CheckpointError, match=r"got one of T\(0\) \+ T\(1\) of SO\(3\)"):
        Bilinear(T(0) + T(1), O(3)).load_state_dict(pairs)
    with pytest.raises(CheckpointError, match="expected a state of"):
        EMLP(T(1), T(1), O(3), ch=8, layers=1).load_state_dict(EMLP(T(1), T(1), SO(3), ch=8, layers=1).state_dict())


def test_names_roundings_and_equal_types_are_no_other_group():
    layer = RepLinear(T(1, 1), T(1), SO(3))
    same = GeneratedGroup("turns", lie_algebra=SO(3).lie_algebra * (1 + 1e-14))
    RepLinear(T(2), T(1), same).load_state_dict(layer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(layer.state_dict().values(), layer.state_dict().values(), strict=True))
    assert all(isinstance(value, torch.Tensor) for value in layer.bfloat16().state_dict().values())
    RepLinear(T(2), T(1), same).load_state_dict(layer.state_dict())  # casts leave the stamp


def test_a_state_of_an_earlier_version_says_so():
    net = EMLP(T(1), T(1), SO(3), ch=8, layers=1)
    old = {key: value for key, value in net.state_dict().items() if not key.endswith("_extra_state")}
    for strict in (True, False):
        with pytest.raises(CheckpointError, match=r"the group, types and bases of blocks\.0\.linear\.weight .* train again"):
            net.load_state_dict(old, strict=strict)
    with pytest.raises(CheckpointError, match="expected the stamp of a RepLinear"):
        net.last.load_state_dict(net.last.state_dict() | {"_extra_state": torch.zeros(3)})
