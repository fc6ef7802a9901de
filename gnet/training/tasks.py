"""What can be asked of signals with missing entries: fill in what is hidden, or what comes next."""

from typing import Any

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import ConfigError, DataError
from gnet.training.datamodule import Batch, Samples


class ImputeSamples(Samples):
    """The input lacks the hidden entries (they are 0, the mean); those of them that were observed count in the loss.

    Shapes:
        values: (T, N, C) standardised, 0 where missing    observed, hidden: (T, N, C) bool    rows: (B,) of this split

    Example:
        >>> values, hidden = torch.ones(2, 2, 1), torch.tensor([[[True], [False]], [[False], [True]]])
        >>> batch = ImputeSamples(values, torch.ones_like(hidden), hidden, torch.tensor([1])).all()
        >>> batch.x.flatten(), batch.mask.flatten()
        (tensor([1., 0.]), tensor([False,  True]))
    """

    def __init__(self, values: Tensor, observed: Tensor, hidden: Tensor, rows: Tensor) -> None:
        self.values, self.rows = values, rows
        self.hidden, self.counted = hidden, hidden & observed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Any) -> Batch:
        rows = self.rows[indices]
        return Batch(self.values[rows].masked_fill(self.hidden[rows], 0.0), self.values[rows], self.counted[rows])


class WindowSamples(Samples):
    """``horizon_in`` steps as channels in, the ``horizon_out`` steps after them as channels out; step by step, C at a time.

    Windows are cut out of the series when they are asked for: memory is that of the series, not of all windows.

    Shapes:
        values: (T, N, C) standardised, 0 where missing    observed: (T, N, C) bool    starts: (B,)
        x: (B, N, horizon_in C)    y: (B, N, horizon_out C)

    Example:
        >>> series = torch.arange(5.0).reshape(5, 1, 1)
        >>> batch = WindowSamples(series, torch.ones_like(series, dtype=torch.bool), torch.tensor([0, 1]), 3, 1).all()
        >>> batch.x.squeeze(1), batch.y.flatten()
        (tensor([[0., 1., 2.],
                [1., 2., 3.]]), tensor([3., 4.]))
    """

    def __init__(self, values: Tensor, observed: Tensor, starts: Tensor, horizon_in: int, horizon_out: int) -> None:
        self.values, self.observed, self.starts = values, observed, starts
        self.horizon_in, self.horizon_out = horizon_in, horizon_out

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: Any) -> Batch:
        starts = self.starts[indices]
        future = starts + self.horizon_in
        return Batch(
            _windows(self.values, starts, self.horizon_in),
            _windows(self.values, future, self.horizon_out),
            _windows(self.observed, future, self.horizon_out),
        )


def _windows(series: Tensor, starts: Tensor, length: int) -> Tensor:
    steps = series[starts[:, None] + torch.arange(length)]  # (B, length, N, C)
    return steps.transpose(1, 2).flatten(2)


def window_starts(first: int, end: int, length: int, part: str) -> Tensor:
    """Where the windows that lie inside the rows first..end-1 start, so that none crosses into another split.

    Raises:
        DataError: not one fits.

    Example:
        >>> window_starts(10, 15, 3, "val")
        tensor([10, 11, 12])
    """
    if end - first < length:
        raise DataError(
            f"too few samples: the {part} part has {end - first} in a row, one window needs {length} (horizon_in + horizon_out); "
            "shorten the horizons, enlarge the part (val_fraction, test_fraction), or give a longer series"
        )
    return torch.arange(first, end - length + 1)


def hidden_entries(shape: tuple[int, int, int], fraction: float, generator: torch.Generator) -> Tensor:
    """Each entry hidden with probability ``fraction``, on its own.

    Example:
        >>> hidden_entries((2, 3, 1), 0.5, torch.Generator()).shape
        torch.Size([2, 3, 1])
    """
    return torch.rand(shape, generator=generator) < fraction


def hidden_blocks(shape: tuple[int, int, int], fraction: float, graph: Data, generator: torch.Generator) -> Tensor:
    """In each sample the same share of nodes, in one connected block: the nodes nearest by hops to a random one.

    All channels of a node are hidden together. A component smaller than the block is hidden as a whole.

    Shapes:
        shape: (T, N, C)    returns: (T, N, C) bool

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> hidden_blocks((4, 3, 1), 0.34, path, torch.Generator()).sum((1, 2))
        tensor([1, 1, 1, 1])
    """
    samples, nodes, channels = shape
    size = max(1, int(fraction * nodes))
    source, target = graph.edge_index.numpy()
    adjacency = csr_array((torch.ones(len(source)).numpy(), (source, target)), shape=(nodes, nodes))
    centres = torch.randint(0, nodes, (samples,), generator=generator)
    hidden = torch.zeros(samples, nodes, dtype=torch.bool)
    for centre in centres.unique().tolist():
        reached = breadth_first_order(adjacency, centre, directed=False, return_predecessors=False)
        block = torch.zeros(nodes, dtype=torch.bool)
        block[torch.as_tensor(reached[:size].copy(), dtype=torch.long)] = True
        hidden[centres == centre] = block
    return hidden.unsqueeze(2).expand(samples, nodes, channels)


def check_fractions(val_fraction: float, test_fraction: float, mask_fraction: float) -> None:
    """Refuse shares of samples or entries that leave nothing over.

    Raises:
        ConfigError: a fraction outside (0, 1), or val + test >= 1.

    Example:
        >>> check_fractions(0.1, 0.2, 0.25)
    """
    named = {"val_fraction": val_fraction, "test_fraction": test_fraction, "mask_fraction": mask_fraction}
    for name, value in named.items():
        if not 0 < value < 1:
            raise ConfigError(f"expected {name} in (0, 1), got {value}")
    if val_fraction + test_fraction >= 1:
        raise ConfigError(f"val_fraction {val_fraction} and test_fraction {test_fraction} leave no training samples; lower them")
