"""A linear map from an explicit table of pair labels: general, and the oracle that faster kernels are checked against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def table_linear(x: Tensor, weights: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
    """``y_i = sum_j W_{table[i, j]} x_j + b_i`` through the dense matrix, O(N^2 C C') memory.

    Shapes:
        x: (*, N, C)    weights: (count, C', C)    table: (N, N)    bias: (N, C') or None    returns: (*, N, C')

    Example:
        >>> swap = torch.tensor([[0, 1], [1, 0]])
        >>> table_linear(torch.tensor([[1.0], [2.0]]), torch.tensor([[[0.0]], [[1.0]]]), swap, None)
        tensor([[2.],
                [1.]])
    """
    # Whole rows (i, o, j, :) are gathered to where they belong: no transposed copy, and a backward pass that adds rows.
    out_channels = weights.shape[1]
    rows = table[:, None, :] * out_channels + torch.arange(out_channels, device=table.device)[:, None]
    return dense_linear(x, weights.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, rows.shape), bias)


def dense_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``y_i = sum_j W_ij x_j + b_i`` for a dense weight.

    Shapes:
        x: (*, N, C)    weight: (N, C', N, C), receiver first    bias: (N, C') or None    returns: (*, N, C')

    Example:
        >>> dense_linear(torch.tensor([[1.0], [2.0]]), torch.eye(2).reshape(2, 1, 2, 1), None)
        tensor([[1.],
                [2.]])
    """
    num_nodes, out_channels = weight.shape[:2]
    flat = F.linear(x.flatten(-2), weight.flatten(2).flatten(0, 1), None if bias is None else bias.reshape(-1))
    return flat.unflatten(-1, (num_nodes, out_channels))
