"""A linear task whose symmetry and noise are known, so that theory can be compared with what is measured."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import ConfigError
from gnet.graphs.partition import Partition
from gnet.graphs.proximity import symmetric_graph
from gnet.groups.cluster import ClusterGroup
from gnet.nn.checks import check_choice
from gnet.orbits import PairOrbits
from gnet.randomness import derive_seed
from gnet.training.datamodule import ArraySamples, GraphDataModule, Prepared, Samples, Split
from gnet.training.standardise import Scaling

Kind = Literal["sbm", "ring"]


class Planted(GraphDataModule):
    """x normal, y = Theta x + noise, with Theta equivariant to the cluster group up to a deviation of given size.

    Nothing is standardised, so that the numbers are those of theory. ``study_seed`` makes graph, Theta and test set;
    ``draw`` makes training and validation samples; ``seed`` only orders the batches.

    Args:
        sizes: of the clusters, whose nodes are consecutive.
        in_channels: channels of x.
        out_channels: channels of y.
        deviation: ||Theta - its projection onto the equivariant maps||, Frobenius; 0 plants an exact symmetry.
        sigma_x: std of each entry of x.
        sigma_xi: std of each entry of the noise.
        num_train: n, the training samples.
        num_val: validation samples.
        num_test: test samples.
        noisy_test: add noise to the test targets too; without it the test error is the excess risk.
        kind: "sbm" joins nodes with probability 0.9 inside clusters and 0.1 between; "ring" joins neighbours in a circle.
        double: all in float64.
        options: see ``GraphDataModule``; ``root`` is not used.

    Shapes:
        theta: (N, C_out, N, C_in), receiver first

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, theorem on linear regression.

    Example:
        >>> planted = Planted(sizes=[3, 2, 1], num_train=50)
        >>> planted.theta.shape, planted.train_arrays().x.shape, planted.partition.num_clusters
        (torch.Size([6, 1, 6, 1]), torch.Size([50, 6, 1]), 3)
    """

    def __init__(
        self,
        sizes: Sequence[int] = (3, 2, 1),
        in_channels: int = 1,
        out_channels: int = 1,
        deviation: float = 0.0,
        sigma_x: float = 1.0,
        sigma_xi: float = 1.0,
        num_train: int = 30,
        num_val: int = 30,
        num_test: int = 1000,
        noisy_test: bool = False,
        kind: Kind = "sbm",
        double: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not sizes or min(sizes) < 1 or min(in_channels, out_channels, num_train, num_val, num_test) < 1:
            raise ConfigError(
                f"expected sizes, channels and numbers of samples >= 1, got sizes={list(sizes)}, in_channels={in_channels}, "
                f"out_channels={out_channels}, num_train={num_train}, num_val={num_val}, num_test={num_test}"
            )
        if sigma_x <= 0 or sigma_xi < 0 or deviation < 0:
            raise ConfigError(f"expected sigma_x > 0, sigma_xi and deviation >= 0, got {sigma_x}, {sigma_xi}, {deviation}")
        check_choice("kind", kind, Kind)
        self.partition = consecutive(sizes)
        self.channels = (in_channels, out_channels)
        self.deviation, self.sigma_x, self.sigma_xi = deviation, sigma_x, sigma_xi
        self.num_train, self.num_val, self.num_test = num_train, num_val, num_test
        self.noisy_test, self.kind = noisy_test, kind
        self.dtype = torch.float64 if double else torch.float32
        self.theta = self._theta()

    @property
    def group(self) -> ClusterGroup:
        """The group of the planted symmetry."""
        return ClusterGroup(self.partition)

    def build(self) -> Prepared:
        """Draw the samples."""
        drawn, tested = derive_seed(self.draw, "draw"), derive_seed(self.study_seed, "test")
        test = self._samples(self.num_test, torch.Generator().manual_seed(tested), noisy=self.noisy_test)
        samples: dict[Split, Samples] = {
            "train": self._samples(self.num_train, torch.Generator().manual_seed(derive_seed(drawn, "train")), noisy=True),
            "val": self._samples(self.num_val, torch.Generator().manual_seed(derive_seed(drawn, "val")), noisy=True),
            "test": test,
            "predict": test,
        }
        labels: dict[Split, list[str]] = {split: [str(number) for number in range(len(each))] for split, each in samples.items()}
        nodes = [str(node) for node in range(self.partition.num_nodes)]
        graph = random_graph(self.partition, self.kind, self.study_seed)
        return Prepared(graph, Scaling.identity(*self.channels, self.dtype), samples, labels, nodes)

    def describe(self) -> dict[str, Any]:
        """The data card."""
        return {
            "name": f"Planted linear task, {self.group.name}",
            "source": f"drawn by study seed {self.study_seed} and draw {self.draw}",
            "licence": "none needed",
            "shapes": f"{self.partition.num_nodes} nodes, {self.channels[0]} -> {self.channels[1]} channels",
            "units": f"sigma_x = {self.sigma_x}, sigma_xi = {self.sigma_xi}, deviation = {self.deviation}",
            "splits": f"{self.num_train} train, {self.num_val} val, {self.num_test} test samples, all independent",
            "checksum": "drawn, not read",
        }

    def _theta(self) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.study_seed, "theta"))
        labels, k, n = self.partition.labels, self.partition.num_clusters, self.partition.num_nodes
        c_in, c_out = self.channels
        own = torch.randn(k, c_out, c_in, generator=generator, dtype=torch.float64)
        pairs = torch.randn(k, k, c_out, c_in, generator=generator, dtype=torch.float64) / math.sqrt(n)
        theta = pairs[labels][:, labels].permute(0, 2, 1, 3).clone()  # (N, C_out, N, C_in)
        nodes = torch.arange(n)
        theta[nodes, :, nodes] += own[labels]
        noise = torch.randn(n, c_out, n, c_in, generator=generator, dtype=torch.float64)
        if self.deviation > 0:
            outside = noise - PairOrbits.of(self.group).mean(noise)
            norm = outside.norm()
            if norm < 1e-9:
                raise ConfigError("every linear map has the trivial symmetry: deviation needs a cluster of two or more nodes")
            theta += outside * (self.deviation / norm)
        return theta.to(self.dtype)

    def _samples(self, count: int, generator: torch.Generator, *, noisy: bool) -> ArraySamples:
        nodes, (c_in, c_out) = self.partition.num_nodes, self.channels
        x = self.sigma_x * torch.randn(count, nodes, c_in, generator=generator, dtype=self.dtype)
        y = torch.einsum("iojc,bjc->bio", self.theta, x)
        if noisy:
            y = y + self.sigma_xi * torch.randn(count, nodes, c_out, generator=generator, dtype=self.dtype)
        return ArraySamples(x, y)


def random_graph(partition: Partition, kind: Kind, seed: int) -> Data:
    """A graph whose clusters are connected, of consecutive nodes: see ``Planted`` for its kinds.

    Example:
        >>> random_graph(Partition([0, 0, 1]), "ring", 0).edge_index
        tensor([[0, 0, 1, 1, 2, 2],
                [1, 2, 0, 2, 0, 1]])
    """
    n, labels = partition.num_nodes, partition.labels
    nodes = torch.arange(n)
    ring = torch.stack([nodes, (nodes + 1) % n])[:, : n if n > 2 else n - 1]
    if kind == "ring":
        return symmetric_graph(ring, None, n)
    generator = torch.Generator().manual_seed(derive_seed(seed, "graph"))
    chance = torch.where(labels[:, None] == labels, 0.9, 0.1)
    drawn = (torch.rand(n, n, generator=generator) < chance).triu(1).nonzero().T
    # A path through each cluster keeps the clusters connected, whatever the draw.
    inside = labels[ring[0]] == labels[ring[1]]
    return symmetric_graph(torch.cat([drawn, ring[:, inside & (ring[0] != ring[1])]], dim=1), None, n)


def consecutive(sizes: Sequence[int]) -> Partition:
    """Clusters of these sizes, whose nodes are consecutive.

    Example:
        >>> consecutive([2, 1]).labels
        tensor([0, 0, 1])
    """
    return Partition([cluster for cluster, size in enumerate(sizes) for _ in range(size)])
