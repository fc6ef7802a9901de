"""The baselines that are nets, trained as a GNet is: ``gcn``, ``mlp_per_node``, ``cnn``."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.resolver import activation_resolver

from gnet.randomness import derive_seed
from gnet.study.plan import check_image
from gnet.training.checkpoint import Domain
from gnet.training.module import GNetModule
from gnet.training.symmetry import Symmetric, Symmetry, Trivial
from gnet.training.trial import instantiate

if TYPE_CHECKING:
    from torch_geometric.data import Data


class BaselineNet(nn.Module):
    """A net whose weights are the parameters that multiply an input."""

    @property
    def num_weights(self) -> int:
        """Their number: all but the biases."""
        return sum(parameter.numel() for name, parameter in self.named_parameters() if "bias" not in name)


class GCN(BaselineNet):
    """Graph convolutions with the activation between them: every node has the same weights and sees its neighbours.

    Shapes:
        x: (B, N, C)    returns: (B, N, C')

    References:
        Kipf and Welling (2017), arXiv:1609.02907.

    Example:
        >>> GCN(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3), [1, 8, 2], "relu")(torch.ones(5, 3, 1)).shape
        torch.Size([5, 3, 2])
    """

    edge_index: Tensor
    edge_weight: Tensor | None

    def __init__(self, graph: "Data", channels: list[int], act: str | None) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(GCNConv(*pair) for pair in itertools.pairwise(channels))
        self.act = activation_resolver(act) if act else nn.Identity()
        self.register_buffer("edge_index", graph.edge_index)
        weight = graph.edge_weight
        self.register_buffer("edge_weight", None if weight is None else weight.float())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with the activation between two layers."""
        for number, convolution in enumerate(self.convolutions):
            x = convolution(self.act(x) if number else x, self.edge_index, self.edge_weight)
        return x


class PerNodeMLP(BaselineNet):
    """N perceptrons side by side: node i's output depends on node i's input alone, through weights of its own.

    Shapes:
        x: (B, N, C)    returns: (B, N, C')

    Example:
        >>> PerNodeMLP(Data(num_nodes=3), [1, 8, 2], "relu")(torch.ones(5, 3, 1)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, graph: "Data", channels: list[int], act: str | None) -> None:
        super().__init__()
        num_nodes = int(graph.num_nodes or 0)
        pairs = list(itertools.pairwise(channels))
        # He's scaling, as the nets have: outputs of variance one behind a rectifier.
        gains = [1.0] + [2.0**0.5] * (len(pairs) - 1)
        self.weights = nn.ParameterList(
            gain * torch.randn(num_nodes, a, b) / a**0.5 for gain, (a, b) in zip(gains, pairs, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(num_nodes, b) for _, b in pairs)
        self.act = activation_resolver(act) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """One small matrix product per node and layer."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.einsum("bnc,nch->bnh", self.act(x) if number else x, weight) + bias
        return x


class CNN(BaselineNet):
    """Convolutions of an image, zero outside, with the activation between them; pixels are nodes, row by row.

    Shapes:
        x: (B, H W, C)    returns: (B, H W, C')

    Example:
        >>> CNN((4, 6), [1, 8, 2], "relu")(torch.ones(5, 24, 1)).shape
        torch.Size([5, 24, 2])
    """

    def __init__(self, grid_shape: tuple[int, int], channels: list[int], act: str | None, kernel_size: int = 7) -> None:
        super().__init__()
        self.grid_shape = grid_shape
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, kernel_size, padding="same") for a, b in itertools.pairwise(channels))
        self.act = activation_resolver(act) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with the activation between two layers."""
        image = x.mT.unflatten(-1, self.grid_shape)  # (B, C, H, W)
        for number, convolution in enumerate(self.convolutions):
            image = convolution(self.act(image) if number else image)
        return image.flatten(-2).mT


class Pooled(BaselineNet):
    """The mean over nodes of another net's outputs, for one value per graph."""

    def __init__(self, net: BaselineNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, C')."""
        return self.net(x).mean(-2)


class BaselineModule(GNetModule):
    """Trained as a GNet is, with another net inside; ``sharing`` says which nodes have their weights in common."""

    net_class: type[BaselineNet] = GCN
    sharing: Symmetry = Symmetric()

    def check_read(self, settings: Mapping[str, Any], domain: Domain | None = None) -> None:
        """A baseline reads depth, width and activation of whatever net the settings are for."""

    def build(self, domain: Domain) -> None:
        """Make the baseline's net, with weights from its own part of the seed."""
        self.domain, self.group = domain, self.sharing(domain.graph, domain.grid_shape)
        channels = self.widths(domain.in_channels, domain.out_channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.hparams["seed"], "init", self.net_class.__name__))
            net = self.make_net(domain, channels)
        self.net = net if domain.target == "node" else Pooled(net)  # type: ignore[assignment]

    def make_net(self, domain: Domain, channels: list[int]) -> BaselineNet:
        """The net, from torch's own random numbers."""
        return self.net_class(domain.graph, channels, self.hparams["act"])

    def widths(self, in_channels: int, out_channels: int) -> list[int]:
        """The channels before, between and after the layers."""
        depth = self.hparams["num_layers"]
        if self.hparams["architecture"] == "gru":
            depth = max(depth, 2)
        return [in_channels, *[self.hparams["hidden_channels"]] * (depth - 1), out_channels]


class GCNModule(BaselineModule):
    """The baseline ``gcn``."""

    net_class = GCN


class PerNodeMLPModule(BaselineModule):
    """The baseline ``mlp_per_node``."""

    net_class, sharing = PerNodeMLP, Trivial()


class CNNModule(BaselineModule):
    """The baseline ``cnn``."""

    net_class = CNN

    def make_net(self, domain: Domain, channels: list[int]) -> BaselineNet:
        """The net on the image's grid."""
        return CNN(check_image(domain.grid_shape), channels, self.hparams["act"])


NETS: dict[str, type[BaselineModule]] = {"gcn": GCNModule, "mlp_per_node": PerNodeMLPModule, "cnn": CNNModule}


def layout(name: str, config: Mapping[str, Any], in_channels: int, out_channels: int) -> str:
    """What net a baseline is, in words.

    Example:
        >>> layout("gcn", {"model": {"symmetry": Trivial(), "architecture": "gru", "num_layers": 1, "hidden_channels": 64}}, 6, 3)
        'channels 6 - 64 - 3 with relu between'
    """
    module = NETS[name](**instantiate(config["model"]))
    channels = module.widths(in_channels, out_channels)
    act = f"{module.hparams['act'] or 'no activation'} between" if len(channels) > 2 else "one linear layer"
    return f"channels {' - '.join(map(str, channels))} with {act}"
