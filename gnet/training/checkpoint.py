"""What a checkpoint holds, and how a trained net comes back from it without the data and without lightning."""

import hashlib
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from gnet.errors import CheckpointError, ConfigError, DataError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup
from gnet.nn import EquivariantLinear, GNet, GNetGRU, InvariantLinear
from gnet.training.classes import as_probabilities, listed
from gnet.training.settings import GRAPHS, LAYERED, NET_SETTINGS
from gnet.training.standardise import Scaling, Standardiser

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from gnet.training.data import GraphDataModule

RECORD = "gnet"
"""The key of our part of a checkpoint; ``state_dict`` beside it holds the weights."""

Net = GNet | GNetGRU

OTHER = "use the data it was trained on, or give the --ckpt_path of these data"


@dataclass(frozen=True, eq=False)
class Domain:
    """What a net knows of its data: the graph, the channels, the units, the names of the nodes and of the classes.

    With ``classes`` its outputs are their logits; with None they are numbers. ``missing_input`` is what a missing reading enters
    it as, in physical units; None is the mean. ``num_samples`` is the number of training samples where they are known; a
    checkpoint does not hold it.

    Raises:
        CheckpointError: from ``check_same``, naming what differs.
    """

    graph: "Data"
    grid_shape: tuple[int, int] | None
    in_channels: int
    out_channels: int
    target: Literal["node", "graph"]
    scaling: Scaling
    node_ids: list[str]
    horizon: tuple[int, int] | None = None
    classes: list[str] | None = None
    missing_input: float | None = None
    num_samples: int | None = None

    @classmethod
    def of(cls, datamodule: "GraphDataModule") -> "Domain":
        """The domain of a data module after its ``setup``."""
        names = [field.name for field in fields(cls) if field.name != "horizon"]
        return cls(**{name: getattr(datamodule, name) for name in names}, horizon=_horizon(datamodule))

    @property
    def num_nodes(self) -> int:
        """N."""
        return int(self.graph.num_nodes or 0)

    def in_units(self, output: Tensor) -> Tensor:
        """Outputs of the net in physical units; probabilities where the targets are classes."""
        if self.classes is not None:
            return as_probabilities(output, self.classes)
        return self.scaling.y.to(output.device).inverse(output)

    def edges_hash(self) -> str:
        """A hash of the number of nodes, the edges and their weights; the order in which edges are listed does not matter."""
        edges = self.graph.edge_index.detach().cpu().long()
        order = torch.argsort(edges[0] * self.num_nodes + edges[1], stable=True)
        digest = hashlib.sha256(str(self.num_nodes).encode() + edges[:, order].contiguous().numpy().tobytes())
        weight = self.graph.edge_weight
        if weight is not None:
            digest.update(weight.detach().cpu().float()[order].contiguous().numpy().tobytes())
        return digest.hexdigest()

    def check_same(self, other: "Domain") -> None:
        """Refuse ``other`` (the data at hand) unless it has this domain's classes, graph, channels and nodes."""
        if self.classes != other.classes:
            mine, theirs = (
                "numbers" if each is None else f"the classes {listed(each)}" for each in (self.classes, other.classes)
            )
            raise CheckpointError(f"the checkpoint belongs to other targets: {mine} there and {theirs} here; {OTHER}")
        pairs = [("num_nodes", self.num_nodes, other.num_nodes)]
        pairs += [(name, getattr(self, name), getattr(other, name)) for name in ("in_channels", "out_channels", "target")]
        pairs.append(("number of edges", self.graph.edge_index.shape[1], other.graph.edge_index.shape[1]))
        found = [f"{name} is {mine} there and {theirs} here" for name, mine, theirs in pairs if mine != theirs]
        if not found and list(self.node_ids) != list(other.node_ids):
            first = next(i for i, (a, b) in enumerate(zip(self.node_ids, other.node_ids, strict=False)) if a != b)
            sorted_otherwise = (
                ", the same nodes in another order: sort them as there" if set(self.node_ids) == set(other.node_ids) else ""
            )
            found.append(f"node {first} is {self.node_ids[first]!r} there and {other.node_ids[first]!r} here{sorted_otherwise}")
        if not found and self.edges_hash() != other.edges_hash():
            found.append(f"edges or their weights have hash {self.edges_hash()[:12]} there and {other.edges_hash()[:12]} here")
        if found:
            raise CheckpointError(f"the checkpoint belongs to another graph: {'; '.join(found)}; {OTHER}")

    def record(self) -> dict[str, Any]:
        """Tensors and primitives only."""
        edge_weight = self.graph.edge_weight
        return {
            "num_nodes": self.num_nodes,
            "edge_index": self.graph.edge_index.detach().cpu(),
            "edge_weight": None if edge_weight is None else edge_weight.detach().cpu(),
            "edges_hash": self.edges_hash(),
            "grid_shape": None if self.grid_shape is None else list(self.grid_shape),
            "in_channels": int(self.in_channels),
            "out_channels": int(self.out_channels),
            "target": str(self.target),
            "scaling": {key: value.detach().cpu() for key, value in self.scaling.state_dict().items()},
            "node_ids": [str(node) for node in self.node_ids],
            "horizon": None if self.horizon is None else list(self.horizon),
            "classes": None if self.classes is None else [str(each) for each in self.classes],
            "missing_input": None if self.missing_input is None else float(self.missing_input),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Domain":
        """The inverse of ``record``."""
        from torch_geometric.data import Data

        names = ("num_nodes", "edge_index", "edge_weight")
        graph = Data(**{name: record[name] for name in names if record[name] is not None})
        shape, scaling, horizon = record["grid_shape"], record["scaling"], record.get("horizon")
        return cls(
            graph=graph,
            grid_shape=None if shape is None else (int(shape[0]), int(shape[1])),
            horizon=None if horizon is None else (int(horizon[0]), int(horizon[1])),
            classes=record.get("classes"),  # older checkpoints have neither
            missing_input=record.get("missing_input"),
            scaling=Scaling(*(Standardiser(scaling[f"{side}.mean"], scaling[f"{side}.std"]) for side in ("x", "y"))),
            **{name: record[name] for name in ("in_channels", "out_channels", "target", "node_ids")},
        )


def group_record(group: NodeGroup) -> dict[str, Any]:
    """A group as tensors and primitives: labels (and generators of the swaps), or generators.

    Example:
        >>> group_record(ClusterGroup(Partition([0, 0, 1])))["labels"]
        tensor([0, 0, 1])
    """
    if isinstance(group, ClusterGroup):
        swaps = None if group.swaps is None else torch.stack(list(group.swaps.generators))
        return {"labels": group.partition.labels, "num_clusters": group.partition.num_clusters, "swaps": swaps}
    generators = list(group.generators)
    stacked = torch.stack(generators) if generators else torch.empty(0, group.degree, dtype=torch.long)
    order = str(group.order()) if group.order() < 10**4000 else None
    return {"generators": stacked, "degree": group.degree, "order": order, "name": str(group.name)}


def group_from_record(record: dict[str, Any]) -> NodeGroup:
    """The inverse of ``group_record``.

    Example:
        >>> group_from_record(group_record(ClusterGroup(Partition([0, 0, 1]))))
        ClusterGroup(S2 x S1, order 2)
    """
    if "labels" in record:
        swaps = record["swaps"]
        return ClusterGroup(
            Partition(record["labels"], record["num_clusters"]), None if swaps is None else PermutationGroup(list(swaps))
        )
    order = record.get("order")
    group = PermutationGroup(list(record["generators"]), record["degree"], order=None if order is None else int(order))
    group.name = record.get("name", group.name)  # older records have none
    return group


def is_forecast(datamodule: object) -> bool:
    """Whether the targets are later steps of the inputs: then the data module also has ``horizon_in`` and ``horizon_out``."""
    return getattr(datamodule, "task", None) == "forecast"


def _horizon(datamodule: "GraphDataModule") -> tuple[int, int] | None:
    """Steps in and steps out of a forecast, None for any other task."""
    if not is_forecast(datamodule):
        return None
    return int(datamodule.horizon_in), int(datamodule.horizon_out)  # type: ignore[attr-defined]


def build_net(
    domain: Domain,
    group: NodeGroup,
    settings: dict[str, Any],
    generator: torch.Generator | None = None,
    *,
    beside: Sequence[NodeGroup] = (),
) -> Net:
    """The net for a domain: a ``GNetGRU``, or a ``GNet``, whose last layer is an ``InvariantLinear`` for one value per graph.

    Raises:
        ConfigError: a recurrent net for another task than forecasting.
    """
    if settings["architecture"] == "gru":
        return _recurrent(domain, group, settings, generator, beside)
    settings = {"relaxation": None, **settings}  # older checkpoints have none
    named = {name: settings[name] for name in ("hidden_channels", "num_layers", *LAYERED, *GRAPHS)}
    own = settings["relaxation"] or {}
    if settings["propagate"] != "none" or own.get("coarsening"):
        named |= {"edge_index": domain.graph.edge_index, "edge_weight": domain.graph.edge_weight}
    elif settings["mixing"] == "coarse_edges" or own.get("local"):
        named["edge_index"] = domain.graph.edge_index
    if settings["layer"] != "equivariant":
        usual = {"parametrization": "canonical", "mixing": "full", "num_bases": None}
        named = {name: value for name, value in named.items() if name not in usual or value != usual[name]}
    net = GNet(group, domain.in_channels, out_channels=domain.out_channels, beside=beside, generator=generator, **named)
    if domain.target == "graph":
        width = domain.in_channels if settings["num_layers"] == 1 else settings["hidden_channels"]
        bias = settings["bias"] is not None
        net.blocks[-1] = InvariantLinear(group, width, domain.out_channels, bias=bias, generator=generator)
    return net


def _recurrent(
    domain: Domain,
    group: NodeGroup,
    settings: dict[str, Any],
    generator: torch.Generator | None,
    beside: Sequence[NodeGroup],
) -> GNetGRU:
    if domain.horizon is None:
        raise ConfigError("architecture='gru' reads and writes steps in time: it needs data with task='forecast'")
    seen, made = domain.horizon
    return GNetGRU(
        group,
        domain.in_channels // seen,
        settings["hidden_channels"],
        domain.out_channels // made,
        horizon_in=seen,
        horizon_out=made,
        data=domain.graph,
        num_layers=settings["num_layers"],
        num_steps=settings["diffusion_steps"],
        sampling_decay=settings["sampling_decay"],
        released=settings["released"],
        beside=beside,
        generator=generator,
    )


class TrainedNet(nn.Module):
    """A trained net as a plain module, with the graph, the units and the node ids it was trained on.

    ``predict(x)`` takes and returns physical units, NaN where a reading is missing: it enters the net as in training. ``forward``
    is the bare net, from standardised inputs to standardised outputs; ``standardise`` and ``to_units`` go between the two.

    Where the targets were classes, ``classes`` names them (it is None for numbers), ``predict`` returns their probabilities in
    that order, and ``forward`` their logits.

    Shapes:
        x: (*, N, C)    returns: (*, N, C'), or (*, C') where the target is one value per graph; C' = K for K classes

    Raises:
        DataError: from ``standardise`` and ``predict``: a reading that is infinite.
    """

    def __init__(self, net: Net, domain: Domain, hyper_parameters: dict[str, Any]) -> None:
        super().__init__()
        self.net, self.scaling = net, domain.scaling
        self.group, self.graph, self.grid_shape = net.group, domain.graph, domain.grid_shape
        self.in_channels, self.out_channels = domain.in_channels, domain.out_channels
        self.node_ids, self.target, self.hyper_parameters = domain.node_ids, domain.target, hyper_parameters
        self.classes, self.missing_input = domain.classes, domain.missing_input

    def forward(self, x: Tensor) -> Tensor:
        """Model units to model units."""
        return self.net(x)

    def standardise(self, x: Tensor) -> Tensor:
        """Physical inputs to model inputs; missing ones (NaN) become what they were in training, as a rule 0, the mean."""
        if bool((infinite := x.isinf()).any()):
            *sample, node, channel = infinite.nonzero()[0].tolist()
            raise DataError(
                f"expected finite readings, and NaN where one is missing, got {float(x[infinite][0])} at node "
                f"{self.node_ids[node]!r}, channel {channel}{f', sample {sample[0]}' if sample else ''}"
            )
        if self.missing_input is not None:
            x = x.masked_fill(x.isnan(), self.missing_input)
        return self.scaling.x.filled(x)

    def to_units(self, y: Tensor) -> Tensor:
        """Model outputs to physical units, logits of classes to probabilities."""
        return self.scaling.y.inverse(y) if self.classes is None else as_probabilities(y, self.classes)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Physical units to physical units, or to the probabilities of the classes."""
        return self.to_units(self.net(self.standardise(x)))

    def extra_repr(self) -> str:
        """The group and the size of the graph."""
        return f"{self.graph.num_nodes} nodes, symmetry {self.group.name if self.group is not None else 'unknown'}"


@torch.no_grad()
def projected(net: Net, domain: Domain, group: NodeGroup, settings: dict[str, Any]) -> Net:
    """The Reynolds average over ``group`` of a net of one linear layer: the nearest ``group``-equivariant map.

    Raises:
        CheckpointError: the net has more than one layer (the average of a deeper net is no net).
    """
    result = build_net(domain, group, settings).to(next(net.parameters()).dtype)
    if not (isinstance(net, GNet) and isinstance(result, GNet)) or len(net.blocks) != 1:
        raise CheckpointError(f"only a net of one linear layer can be projected, got {net}")
    trained, mean = (each.blocks[0] if domain.target == "graph" else each.blocks[0].linear for each in (net, result))
    if isinstance(trained, EquivariantLinear) and isinstance(mean, EquivariantLinear):
        mean.set_dense(trained.dense(), trained.dense_bias())
    elif isinstance(trained, InvariantLinear) and isinstance(mean, InvariantLinear):
        sums = torch.zeros_like(mean.weight).index_add_(1, mean.labels, trained.dense())
        mean.weight.copy_(sums)  # the layer acts on orbit means, so a weight is the sum over its orbit
        if mean.bias is not None and trained.bias is not None:
            mean.bias.copy_(trained.bias)
    return result.train(net.training)


def make_record(
    domain: Domain,
    group: NodeGroup,
    settings: dict[str, Any],
    project_onto: NodeGroup | None = None,
    beside: Sequence[NodeGroup] = (),
) -> dict[str, Any]:
    """Our part of a checkpoint; ``project_onto`` is set while the projection is still to be done."""
    return {
        "format": 1,
        "domain": domain.record(),
        "group": group_record(group),
        "settings": {name: settings[name] for name in NET_SETTINGS},
        "project_onto": None if project_onto is None else group_record(project_onto),
        "beside": [group_record(each) for each in beside],
    }


def groups_beside(record: dict[str, Any]) -> tuple[NodeGroup, ...]:
    """The further groups of a net, from our part of its checkpoint; older ones have none."""
    return tuple(group_from_record(each) for each in record.get("beside", ()))


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, tensors and primitives only.

    Raises:
        CheckpointError: no such file, a truncated or corrupt one, or one that gnet did not write.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(str(each) for each in file.parent.glob("*.ckpt"))[:5] if file.parent.is_dir() else []
        raise CheckpointError(f"{path}: no such checkpoint{f'; there are {near}' if near else ''}")
    if not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"{path}: no checkpoint, or a truncated one: a checkpoint is a zip archive that `fit` or `study` wrote"
        )
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: truncated, corrupt, or no checkpoint of gnet: {reason}") from error
    if not isinstance(content, dict) or RECORD not in content or "state_dict" not in content:
        raise CheckpointError(f"{path}: a checkpoint, but not one of gnet (it has no key {RECORD!r})")
    return content


def load(path: str | Path) -> TrainedNet:
    """A trained net from a checkpoint of ``fit`` or ``study``, in eval mode, on the CPU; needs neither data nor lightning.

    Raises:
        CheckpointError: no such file, a truncated or corrupt one, or one that gnet did not write.
    """
    content = read(path)
    try:
        record = content[RECORD]
        domain, group = Domain.from_record(record["domain"]), group_from_record(record["group"])
        net = build_net(domain, group, record["settings"], beside=groups_beside(record))
        weights = {key.removeprefix("net."): value for key, value in content["state_dict"].items() if key.startswith("net.")}
        net.load_state_dict(weights)
        target = record.get("project_onto")
        if target is not None:
            net = projected(net, domain, group_from_record(target), record["settings"])
    except (KeyError, TypeError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the parts of the checkpoint do not fit together: {error}") from error
    return TrainedNet(net, domain, content.get("hyper_parameters", {})).eval()
