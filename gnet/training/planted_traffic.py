"""Forecasts whose best answer is known: a signal that diffuses along a graph, otherwise in every cluster, with noise."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor
from torch_geometric.data import Data
from torchmetrics import Metric

from gnet.errors import ConfigError
from gnet.graphs.partition import Partition
from gnet.graphs.proximity import directed_graph
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.nn.checks import check_choice
from gnet.nn.diffusion import Diffusion
from gnet.orbits import PairOrbits
from gnet.randomness import derive_seed
from gnet.training.datamodule import ArraySamples, GraphDataModule, Prepared, Samples, Split
from gnet.training.metrics import MaskedMAE, MaskedRMSE, of_each_step
from gnet.training.planted import consecutive, random_graph
from gnet.training.standardise import Scaling

Kind = Literal["road", "sbm"]
Inputs = Literal["series", "white"]


class PlantedTraffic(GraphDataModule):
    """x_(t+1) = sum_r S_r x_t H_(r, a(i)) + noise: after a walk S_r, each node mixes its channels as its cluster a(i) does.

    The stand-in for measured traffic, with its shapes: ``horizon_in`` steps of ``channels`` in, ``horizon_out`` steps of the
    first channel out. S_r = I, P_f^T, P_b^T are the walks of ``gnet.nn.diffusion.Diffusion``. Nothing is standardised. The best
    forecast is the linear map ``theta``, which sees the last step alone, and ``bias`` says what a symmetry costs.

    ``study_seed`` makes graph, dynamics and test set; ``draw`` makes training and validation samples; ``seed`` only orders the
    batches.

    Args:
        sizes: of the clusters, whose nodes are consecutive.
        channels: d, of a step; the first one is forecast.
        horizon_in: steps that a forecast sees.
        horizon_out: steps that it makes.
        memory: the spectral radius of one step, in (0, 1); the noise of n steps ago has died out by about memory^n.
        sigma_xi: std of each entry of the noise of a step.
        inputs: "series" cuts the samples out of stationary series, one for each split, as measured traffic is: overlapping
            windows. "white" draws each sample anew, its inputs independent normals of std ``sigma_x``: what the theorem on linear
            regression asks for, with ``horizon_out`` 1, where the noise is independent too.
        sigma_x: of white inputs.
        num_train: training samples.
        num_val: validation samples.
        num_test: test samples.
        noisy_test: add noise to the test targets too; without it the test error (of "mse") is the excess risk.
        kind: "road" makes each cluster a road with weighted edges both ways, joined to those before; "sbm" is as in ``Planted``.
        double: all in float64.
        batch_size: samples per batch.
        options: see ``GraphDataModule``; ``root`` is not used.

    Shapes:
        theta: (N, horizon_out, N, horizon_in d), receiver first    transition: (N, d, N, d)    covariance: (N d, N d)

    References:
        Li, Yu, Shahabi and Liu (2018), arXiv:1707.01926, for the walks. Huang, Levie and Villar (2023), arXiv:2308.10436, theorem
        on linear regression.

    Example:
        >>> planted = PlantedTraffic(sizes=[3, 2], num_train=50)
        >>> planted.train_arrays().x.shape, planted.train_arrays().y.shape, planted.theta.shape
        (torch.Size([50, 5, 6]), torch.Size([50, 5, 3]), torch.Size([5, 3, 5, 6]))
        >>> planted.bias(Partition.singletons(5)) < planted.bias(planted.partition) < planted.bias(Partition.whole(5))
        True
    """

    task: ClassVar[str] = "forecast"

    def __init__(
        self,
        sizes: Sequence[int] = (8, 5, 3),
        channels: int = 2,
        horizon_in: int = 3,
        horizon_out: int = 3,
        memory: float = 0.9,
        sigma_xi: float = 1.0,
        inputs: Inputs = "series",
        sigma_x: float = 1.0,
        num_train: int = 1000,
        num_val: int = 200,
        num_test: int = 1000,
        noisy_test: bool = False,
        kind: Kind = "road",
        double: bool = False,
        batch_size: int | None = 64,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **options)
        numbers = [*sizes, channels, horizon_in, horizon_out, num_train, num_val, num_test]
        if not sizes or min(numbers) < 1:
            raise ConfigError(
                f"expected sizes, channels, horizons and numbers of samples >= 1, got sizes={list(sizes)}, channels={channels}, "
                f"horizons {horizon_in} and {horizon_out}, and {num_train}, {num_val} and {num_test} samples"
            )
        if not 0 < memory < 1:
            raise ConfigError(f"expected memory in (0, 1), so that the series is stationary, got {memory}")
        if sigma_xi <= 0 or sigma_x <= 0:
            raise ConfigError(f"expected sigma_xi and sigma_x > 0, got {sigma_xi} and {sigma_x}")
        check_choice("kind", kind, Kind)
        check_choice("inputs", inputs, Inputs)
        self.partition, self.channels = consecutive(sizes), channels
        self.horizon_in, self.horizon_out, self.memory = horizon_in, horizon_out, memory
        self.sigma_xi, self.sigma_x, self.inputs, self.kind = sigma_xi, sigma_x, inputs, kind
        self.counts: dict[str, int] = {"train": num_train, "val": num_val, "test": num_test}
        self.noisy_test, self.dtype = noisy_test, torch.float64 if double else torch.float32
        self.roads = self._roads() if kind == "road" else random_graph(self.partition, "sbm", self.study_seed)
        self.transition = self._transition()

    @property
    def group(self) -> ClusterGroup:
        """Of the clusters that the dynamics tell apart."""
        return ClusterGroup(self.partition)

    @property
    def theta(self) -> Tensor:
        """The expected next steps, as a linear map of all inputs."""
        nodes, d = self.partition.num_nodes, self.channels
        theta = torch.zeros(nodes, self.horizon_out, nodes, self.horizon_in, d, dtype=torch.float64)
        power = step = self.transition.reshape(nodes * d, nodes * d)
        for ahead in range(self.horizon_out):
            theta[:, ahead, :, -1] = power.reshape(nodes, d, nodes, d)[:, 0]
            power = step @ power
        return theta.flatten(3).to(self.dtype)

    @property
    def covariance(self) -> Tensor:
        """Of a step of the inputs, node by node and channel by channel: the stationary one solves C = A C A^T + sigma_xi^2."""
        size = self.partition.num_nodes * self.channels
        if self.inputs == "white":
            return self.sigma_x**2 * torch.eye(size, dtype=torch.float64)
        step = self.transition.reshape(size, size).numpy()
        return torch.from_numpy(solve_discrete_lyapunov(step, self.sigma_xi**2 * torch.eye(size, dtype=torch.float64).numpy()))

    def bias(self, group: NodeGroup | Partition) -> float:
        """E |f(x) - (Psi f)(x)|^2 of the best forecast f and its average over a group, summed over nodes and steps.

        Partitions stand for their cluster groups.
        """
        orbits = PairOrbits.of(ClusterGroup(group) if isinstance(group, Partition) else group)
        theta = self.theta.double()
        outside = (theta - orbits.mean(theta))[..., -self.channels :].flatten(2).flatten(0, 1)  # of the last step
        return float(((outside @ self.covariance) * outside).sum())

    def build(self) -> Prepared:
        """Draw the samples."""
        drawn = derive_seed(self.draw, "draw")
        seeds = {
            "train": derive_seed(drawn, "train"),
            "val": derive_seed(drawn, "val"),
            "test": derive_seed(self.study_seed, "test"),
        }
        made = {part: self._samples(part, torch.Generator().manual_seed(seed)) for part, seed in seeds.items()}
        samples: dict[Split, Samples] = {
            "train": made["train"],
            "val": made["val"],
            "test": made["test"],
            "predict": made["test"],
        }
        labels: dict[Split, list[str]] = {split: [str(number) for number in range(len(each))] for split, each in samples.items()}
        scaling = Scaling.identity(self.horizon_in * self.channels, self.horizon_out, self.dtype)
        return Prepared(self.roads, scaling, samples, labels, [str(node) for node in range(self.partition.num_nodes)])

    def metrics(self) -> dict[str, Metric]:
        """MAE and RMSE over all steps, and n steps ahead (``mae_1`` ...)."""
        return of_each_step({"mae": MaskedMAE, "rmse": MaskedRMSE}, self.horizon_out)

    def describe(self) -> dict[str, Any]:
        """The data card."""
        return {
            "name": f"Planted traffic, {self.partition.num_clusters} clusters of sizes {self.partition.sizes.tolist()}",
            "source": f"drawn by study seed {self.study_seed} and draw {self.draw}",
            "licence": "none needed",
            "shapes": f"{self.partition.num_nodes} nodes, {self.horizon_in} steps of {self.channels} channels -> "
            f"{self.horizon_out} steps of the first one",
            "units": f"sigma_xi = {self.sigma_xi}, memory {self.memory}, inputs {self.inputs!r}",
            "splits": f"{self.counts['train']} train, {self.counts['val']} val, {self.counts['test']} test samples, "
            + ("all independent" if self.inputs == "white" else "windows of three independent series"),
            "checksum": "drawn, not read",
        }

    def _roads(self) -> Data:
        """Each cluster a road; neighbours on it hear one another with a weight for each direction; a junction joins two roads."""
        generator = torch.Generator().manual_seed(derive_seed(self.study_seed, "graph"))
        labels, n = self.partition.labels, self.partition.num_nodes
        nodes = torch.arange(1, n)
        starts = labels[nodes] != labels[nodes - 1]
        # The first node of a road hangs on a random one of those before.
        back = torch.where(starts, (torch.rand(n - 1, generator=generator) * nodes).long(), nodes - 1)
        edges = torch.stack([torch.cat([back, nodes]), torch.cat([nodes, back])])
        return directed_graph(edges, 0.1 + 0.9 * torch.rand(edges.shape[1], generator=generator), n)

    def _transition(self) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.study_seed, "theta"))
        nodes, d, k = self.partition.num_nodes, self.channels, self.partition.num_clusters
        walks = Diffusion(self.roads)(torch.eye(nodes).unsqueeze(1)).reshape(nodes, -1, nodes).double()  # (N, r, N)
        mixing = torch.randn(k, walks.shape[1], d, d, generator=generator, dtype=torch.float64)  # of cluster, walk, in, out
        step = torch.einsum("irj,irco->iojc", walks, mixing[self.partition.labels])
        radius = torch.linalg.eigvals(step.reshape(nodes * d, nodes * d)).abs().max()
        return step * (self.memory / radius)

    def _samples(self, part: str, generator: torch.Generator) -> ArraySamples:
        count, nodes, d = self.counts[part], self.partition.num_nodes, self.channels
        step = self.transition.reshape(nodes * d, nodes * d)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, nodes * d, generator=generator, dtype=torch.float64)

        if self.inputs == "white":
            seen = self.sigma_x * normal(self.horizon_in, count)
            later = [seen[-1]]
            for _ in range(self.horizon_out):
                later.append(later[-1] @ step.T + self.sigma_xi * normal(count))
            ahead = torch.stack(later[1:])
        else:
            length = self.horizon_in + self.horizon_out
            states = [torch.linalg.cholesky(self.covariance) @ normal()]
            for noise in self.sigma_xi * normal(count + length - 2):
                states.append(step @ states[-1] + noise)
            windows = torch.stack(states).unfold(0, length, 1).permute(2, 0, 1)  # (steps, count, N d)
            seen, ahead = windows[: self.horizon_in], windows[self.horizon_in :]
        x = seen.unflatten(2, (nodes, d)).permute(1, 2, 0, 3).flatten(2).to(self.dtype)
        if part == "test" and not self.noisy_test:
            return ArraySamples(x, torch.einsum("iojc,bjc->bio", self.theta, x))
        return ArraySamples(x, ahead.unflatten(2, (nodes, d))[..., 0].permute(1, 2, 0).to(self.dtype).contiguous())
