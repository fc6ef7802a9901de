"""What the exercises of the notebooks are checked against. Try first, look later."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gnet import ClusterGroup, GNet, PairOrbits, Partition, PermutationGroup, SymmetricGroup, equivariance_error, grid_group
from gnet.nn import NodeBatchNorm
from gnet.plugins.expressivity import named_graphs, orbits, wl_colors
from gnet.theory import crossover_sample_size, dim_hom, filter_bound, optimal_shrinkage

Answer = Any


def check(exercise: str, answer: Answer, **given: Any) -> None:
    """Say whether an answer is right; an ellipsis is none yet.

    Example:
        >>> check("custom 1", ...), check("custom 1", 12), check("custom 1", "twelve")
        custom 1: not answered yet
        custom 1: right
        custom 1: not right, try again
        (None, None, None)
    """
    if answer is ...:
        print(f"{exercise}: not answered yet")
        return
    test = CHECKS[exercise]
    try:
        is_right = bool(test(answer, **given))
    except Exception:  # of another kind than was asked for: no number, no net, too few of them
        is_right = False
    print(f"{exercise}: {'right' if is_right else 'not right, try again'}")


def _near(value: float, tolerance: float = 1e-3) -> Callable[[float], bool]:
    return lambda answer: math.isclose(float(answer), value, rel_tol=tolerance)


def _is_count(answer: float, value: int) -> bool:
    return float(answer) == value  # not int(answer), which 12.9 would pass


def _weights(answer: int, partition: Partition) -> bool:
    return _is_count(answer, dim_hom(ClusterGroup(partition)))


def _lowest(answer: int, risks: dict[int, float]) -> bool:
    return _is_count(answer, min(risks, key=risks.__getitem__))


def _refines(answer: Sequence[Partition], graph: Any) -> bool:
    fine, coarse = sorted(answer, key=lambda each: -each.num_clusters)
    sizes = (fine.num_nodes, fine.num_clusters, coarse.num_clusters)
    return sizes == (graph.num_nodes, 9, 3) and fine.refines(coarse)


def _threshold(answer: float, theta: torch.Tensor, smaller: ClusterGroup, larger: ClusterGroup, sigma_xi: float) -> bool:
    return _near(crossover_sample_size(theta, smaller, larger, sigma_xi=sigma_xi))(answer)


def _factor(answer: float, theta: torch.Tensor, group: ClusterGroup, n: int, sigma_xi: float) -> bool:
    return _near(optimal_shrinkage(theta, group, n, sigma_xi=sigma_xi).factors[0])(answer)


def _separate(answer: int) -> bool:
    return _is_count(answer, 0)


def _own_share(answer: float) -> bool:
    return math.isclose(float(answer), 1 / 3, abs_tol=0.02)


def _heard(answer: Sequence[int]) -> bool:
    return sorted(answer) == [0, 1, 2]


def _bound(answer: float, graph: Any, partition: Partition, coefficients: Sequence[float]) -> bool:
    return _near(filter_bound(graph, partition, coefficients, target="reynolds"))(answer)


def _order(answer: Sequence[str]) -> bool:
    return [each.strip().lower() for each in answer] == ["cut", "operator", "frobenius"]


def _gain(answer: float, errors: dict[int, float]) -> bool:
    return _near(errors[min(errors)] / errors[max(errors)], 0.02)(answer)


def _dihedral(answer: Any) -> bool:
    ring = torch.arange(12)
    return bool(answer == PermutationGroup([(ring + 1) % 12, -ring % 12]))


def _translations(answer: int) -> bool:
    return _is_count(answer, PairOrbits.of(grid_group((4, 3), "translations")).count)


def _keeps(answer: Any) -> bool:
    net = GNet(SymmetricGroup(5), 2, 4, 1, norm=answer) if isinstance(answer, str) else None
    return net is not None and any(isinstance(module, NodeBatchNorm) for module in net.modules())


def _pyg_shape(answer: Sequence[int]) -> bool:
    return tuple(answer) == (20 * 64, 1)


def _exact(answer: Any) -> bool:
    net, x = copy.deepcopy(answer).double(), torch.randn(6, 64, 1, dtype=torch.float64)  # the reader's own stays in float32
    is_exact = equivariance_error(net, x, net.group).relative < 1e-9 and 1 < net.group.node_orbits().num_clusters < 64
    return isinstance(net, GNet) and net(x).shape == x.shape and is_exact


def _behind(answer: float, path: Sequence[Any]) -> bool:
    return _near(path[0].difference / path[0].difference_error)(answer)


def _next(answer: Partition, path: Any) -> bool:
    return answer == path.partition(path.best + 1)


def _filled_in(answer: float, net: Any, row: torch.Tensor) -> bool:
    silent = torch.arange(row.shape[1])[None, :, None] < 2
    return _near(float(net.predict(row.masked_fill(silent, torch.nan))[0, 0, 0]))(answer)


def _all_apart(answer: Sequence[int]) -> bool:
    return (
        len(answer) == 12 and len(set(answer)) == 2 and wl_colors(named_graphs()["Frucht"], init=list(answer)).num_classes == 12
    )


def _blind(answer: Any) -> bool:
    is_undirected = {tuple(edge) for edge in answer.edge_index.t().tolist()} == {
        tuple(edge) for edge in answer.edge_index.flip(0).t().tolist()
    }
    return is_undirected and answer.num_nodes <= 8 and wl_colors(answer).num_classes < int(orbits(answer).max()) + 1


def _blast(answer: Sequence[int]) -> bool:
    return [float(each) for each in answer] == [1, 5, -2]


CHECKS: dict[str, Callable[..., bool]] = {
    "coarsening 1": _weights,
    "coarsening 2": _lowest,
    "coarsening 3": _refines,
    "variance 1": _threshold,
    "variance 2": _factor,
    "variance 3": _near(21.53125),
    "published 1": _separate,
    "published 2": _own_share,
    "published 3": _heard,
    "bounds 1": _bound,
    "bounds 2": _order,
    "bounds 3": _gain,
    "custom 1": lambda answer: _is_count(answer, 12),
    "custom 2": _dihedral,
    "custom 3": _translations,
    "pyg 1": _pyg_shape,
    "pyg 2": _keeps,
    "pyg 3": _exact,
    "expressivity 1": lambda answer: _is_count(answer, 5),
    "expressivity 2": _all_apart,
    "expressivity 3": _blind,
    "files 1": _behind,
    "files 2": _next,
    "files 3": _filled_in,
    "units 1": lambda answer: _is_count(answer, 2),
    "units 2": _blast,
    "units 3": _near(0.201405, 0.03),
}
