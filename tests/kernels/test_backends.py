"""One switch for all kernels: each backend gives the same results, under every transformation, and is taken when it is named."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, MissingExtraError
from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, PermutationGroup
from gnet.kernels import backend, backends
from gnet.kernels.segments import cluster_mean, cluster_sum, segment_sum
from gnet.nn import EquivariantLinear, GNet, OrbitConv
from tests.kernels.backends import BACKENDS, DEVICE, cannot, missing

ROOT = Path(__file__).resolve().parents[2]
RING = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 4]])
ONE = PermutationGroup([[0, 1, 2, 3, 4]])

FORMS: dict[str, Callable[[], nn.Module]] = {
    "clusters": lambda: EquivariantLinear(ClusterGroup(Partition([1, 0, 1, 2, 1], 3)), 2, 3),
    "edges": lambda: OrbitConv(ONE, 2, 3, RING),
    "net": lambda: GNet(ClusterGroup(Partition([1, 0, 1, 2, 1], 3)), 2, 3, 2, act="tanh"),
}


@pytest.fixture(params=BACKENDS)
def name(request: pytest.FixtureRequest) -> str:
    if reason := missing(request.param):
        pytest.skip(reason)
    return request.param


@pytest.fixture(params=FORMS)
def module(request: pytest.FixtureRequest) -> nn.Module:
    return FORMS[request.param]().to(DEVICE)


def signal(rng: torch.Generator, *batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*batch, 5, 2, generator=rng, dtype=dtype).to(DEVICE)


def operations(name: str) -> int:
    made = backends.named(name)
    return 0 if made is None else made.calls.total()


# --- every transformation ---


def compiled(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    torch._dynamo.reset()
    fast, x = torch.compile(module, backend="aot_eager", fullgraph=True), x.requires_grad_()
    inputs = [x, *module.parameters()]
    found, expected = ([call(x)] for call in (fast, module))
    weight = torch.randn(expected[0].shape, generator=rng).to(x)
    return (
        [*found, *torch.autograd.grad(found[0], inputs, weight)],
        [*expected, *torch.autograd.grad(expected[0], inputs, weight)],
    )


def exported(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    return torch.export.export(module, (x,)).module()(x), module(x)


def vmap_over_signals(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    nested = x[:, None].expand(-1, 2, -1, -1)
    return (torch.vmap(module)(x), torch.vmap(module, in_dims=1)(nested.transpose(0, 1))), (module(x), module(nested))


def vmap_over_weights(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    others = [copy.deepcopy(module) for _ in range(2)]
    for other in others:
        other.reset_parameters(rng)
    params, buffers = torch.func.stack_module_state(others)
    expected = torch.stack([other(x) for other in others])
    all_of_them = torch.vmap(lambda p, b: torch.func.functional_call(module, (p, b), (x,)))(params, buffers)
    shared = torch.vmap(lambda p: torch.func.functional_call(module, p, (x,)))(params)
    return (all_of_them, shared), (expected, expected)


def gradients_of_each_signal(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    params = dict(module.named_parameters())

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(module, params, (x,)).square().sum()

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    return {name: grad.sum(0) for name, grad in each.items()}, torch.func.grad(loss)(params, x)


def autocast(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    with torch.autocast(DEVICE, torch.bfloat16):
        y = module(x.bfloat16())
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype and p.grad.isfinite().all() for p in module.parameters())
    return y.float(), module(x)


def gradients_by_differences(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    double, x = module.double(), x[:1].double().requires_grad_()
    names, params = zip(*double.named_parameters(), strict=True)

    def call(x: Tensor, *params: Tensor) -> Tensor:
        return torch.func.functional_call(double, dict(zip(names, params, strict=True)), (x,))

    inputs = (x, *(p.detach().clone().requires_grad_() for p in params))
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    if not isinstance(module, GNet):  # the second derivatives of a net are those of its layers
        assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)
    return double(x), double(x)


def deterministic(module: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[object, object]:
    """Nothing that torch knows to depend on the order of threads is refused on the way, and twice gives the same bits."""
    weight = torch.randn(module(x).shape, generator=rng).to(x)
    x.requires_grad_()

    def once() -> list[Tensor]:
        y = module(x)
        return [y.detach(), *torch.autograd.grad(y, [x, *module.parameters()], weight)]

    expected = once()
    torch.use_deterministic_algorithms(True)
    try:
        found = once()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(*pair) for pair in zip(found, once(), strict=True))
    return found, expected


TRANSFORMATIONS = {
    each.__name__: each
    for each in (
        *(compiled, exported, vmap_over_signals, vmap_over_weights),
        *(gradients_of_each_signal, autocast, gradients_by_differences, deterministic),
    )
}


@pytest.mark.parametrize("what", TRANSFORMATIONS)
def test_every_backend_under_every_transformation(name, module, what, rng):
    if reason := cannot(name, what):
        pytest.skip(f"{name}: {reason}")
    before = operations(name)
    tolerance = 0.1 if what == "autocast" else 1e-4
    with backend(name):
        found, expected = TRANSFORMATIONS[what](module, signal(rng, 2), rng)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert (operations(name) > before) == (name != "native")


# --- the same numbers, by the code that was named ---


def step(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    (net(x) - y).square().mean().backward()
    optimizer.step()
    return [p.detach() for p in net.parameters()]


def test_a_training_step_is_the_same_and_runs_on_the_backend(name, rng):
    for net, operation in (
        (GNet(ClusterGroup(Partition([1, 0, 1, 2, 1], 3)), 2, 3, 2), ("sums", "times_plus", "products")),
        (GNet(ClusterGroup(Partition([1, 0, 1, 2, 1], 3)), 2, 3, 2, norm="batch", mixing="none"), ("sums", "times_plus")),
        (
            GNet.from_layers([OrbitConv(ONE, 2, 3, RING), nn.Tanh(), OrbitConv(ONE, 3, 2, RING)]),
            ("along", "along_products", "along_transposed"),
        ),
        (
            GNet(ClusterGroup(Partition([1, 0, 1, 2, 1], 3)), 2, 3, 2, propagate="pointwise", edge_index=RING),
            ("along", "along_products", "along_transposed", "along_scores"),
        ),
    ):
        net.to(DEVICE)
        x, y, twin = signal(rng, 4), signal(rng, 4), copy.deepcopy(net)
        with backend(name) as made:
            before = None if made is None else made.calls.copy()
            found = step(net, x, y)
        torch.testing.assert_close(found, step(twin, x, y), rtol=1e-4, atol=1e-5)
        if made is not None:
            taken = made.calls - before
            assert all(taken[each] for each in (operation if name == "triton" else ("sums",))), (name, taken)


def test_sums_of_every_shape(name, rng):
    labels = torch.tensor([2, 0, 2, 2, 0]).to(DEVICE)
    with backend(name):
        for batch in ((), (3,), (2, 0), (2, 3)):
            x = signal(rng, *batch)
            expected = torch.stack([x[..., labels == c, :].sum(-2) for c in range(4)], -2)
            torch.testing.assert_close(cluster_sum(x, labels, 4), expected)
        y = signal(rng, 3)
        torch.testing.assert_close(cluster_mean(y, labels.clamp(max=1), 2)[:, 1], y[:, [0, 2, 3]].mean(1))
        torch.testing.assert_close(segment_sum(y[0, :, 0], labels, 3)[2], y[0, [0, 2, 3], 0].sum())
        assert segment_sum(torch.ones(5, dtype=torch.long), torch.tensor([2, 0, 2, 2, 0]), 3).tolist() == [2, 0, 3]
        low = torch.full((1, 5, 1), 1.0, dtype=torch.float16).to(DEVICE)
        assert cluster_sum(low, labels, 3).dtype == torch.float16


def test_no_signals_at_all(name):
    with backend(name):
        for form in FORMS.values():
            module = form().to(DEVICE)
            y = module(torch.zeros(0, 5, 2, device=DEVICE))
            assert y.shape[:2] == (0, 5)
            assert all(g.abs().sum() == 0 for g in torch.autograd.grad(y.sum(), list(module.parameters())))


def test_the_backward_pass_stays_with_the_backend_of_the_forward_pass(name, rng):
    module = FORMS["clusters"]().to(DEVICE)
    with backend(name):
        y = module(signal(rng, 2)).sum()
    before = operations(name)
    y.backward()
    assert (operations(name) > before) == (name == "triton")  # the gradient of a sum is a gathering, which torch does


# --- the switch ---


def test_blocks_may_be_nested_and_end_with_an_error():
    assert backends.chosen() == "native"
    with pytest.raises(RuntimeError), backend("native"):
        raise RuntimeError
    assert backends.active is None


def test_an_unknown_name():
    with pytest.raises(
        ConfigError, match=r"no backend is called 'scater'; did you mean 'scatter'\? GNET_BACKEND is one of native"
    ):
        backends.named("scater")
    with pytest.raises(ConfigError, match=r"no backend is called 'cuda'\. GNET_BACKEND is one of native, scatter, triton"):
        backends.start({"GNET_BACKEND": "cuda"})
    backends.start({"GNET_BACKEND": ""})
    assert backends.chosen() == "native"


def without(package: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(backends, "_made", {})
    for module in ("scatter_backend", "triton_backend", "triton_launch", "triton_kernels"):
        monkeypatch.delitem(sys.modules, f"gnet.kernels.{module}", raising=False)


@pytest.mark.parametrize(
    ("package", "name", "message"),
    [
        (
            "torch_scatter",
            "scatter",
            "needs torch-scatter, which is not installed: pip install --no-build-isolation torch-scatter",
        ),
        ("triton", "triton", "needs triton, which is not installed: .*GNET_BACKEND=native"),
    ],
)
def test_a_package_that_is_not_installed(package, name, message, monkeypatch):
    without(package, monkeypatch, name)
    with pytest.raises(MissingExtraError, match=message), backend(name):
        pass
    assert backends.chosen() == "native"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {key: value for key, value in os.environ.items() if key not in ("TRITON_INTERPRET", "GNET_BACKEND")}
    given = {**given, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=240)


def test_nothing_is_imported_before_it_is_chosen():
    """Torch and PyG may bring either package along by themselves; only files that a choice loads do so in gnet."""
    pattern = re.compile(r"^\s*(import|from) (triton|torch_scatter)\b", re.MULTILINE)
    importing = {path.stem for path in (ROOT / "gnet").rglob("*.py") if pattern.search(path.read_text())}
    assert importing == {"scatter_backend", "triton_backend", "triton_launch", "triton_kernels"}
    done = run(f"import sys, gnet.nn; print([name for name in {sorted(importing)} if 'gnet.kernels.' + name in sys.modules])")
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_environment_chooses(name):
    code = "import gnet.kernels.blocks, gnet.nn; from gnet.kernels import backends; print(backends.chosen())"
    done = run(code, GNET_BACKEND=name, TRITON_INTERPRET=os.environ.get("TRITON_INTERPRET", "0"))
    assert done.stdout.strip() == name, done.stderr


def test_the_environment_is_refused_by_name():
    done = run("import gnet.nn", GNET_BACKEND="tirton")
    assert done.returncode != 0
    assert "did you mean 'triton'?" in done.stderr.splitlines()[-1]


def test_triton_without_a_device():
    if missing("triton") and "not installed" in str(missing("triton")):
        pytest.skip(str(missing("triton")))
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run("import gnet.nn", GNET_BACKEND="triton")
    assert "needs a GPU, and torch sees none; take GNET_BACKEND=native" in done.stderr.splitlines()[-1]


# --- the benchmark of a GPU ---


def benchmark(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {key: value for key, value in os.environ.items() if key not in ("TRITON_INTERPRET", "GNET_BACKEND")}
    command = [sys.executable, str(ROOT / "benchmarks" / "kernels_gpu.py"), *words]
    given = {**given, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=240)


def test_the_benchmark_refuses_to_measure_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = benchmark()
    assert (done.stdout, done.returncode) == ("", 2)
    assert "this measures a GPU, and there is none" in done.stderr
    assert "set TRITON_INTERPRET=1" in benchmark("--smoke").stderr


@pytest.mark.skipif(missing("triton") is not None, reason=str(missing("triton")))
def test_the_benchmark_runs_in_the_interpreter():
    done = benchmark("--smoke", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[3:]] == [
        *("mean of clusters", "own product, plus", "whole layer", "along edges")
    ]
