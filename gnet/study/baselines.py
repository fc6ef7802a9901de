"""The models a symmetry must beat, under its protocol: the same splits, masks, seeds and choice by validation loss.

| name           | what it is                                                                     | num_clusters         |
|----------------|--------------------------------------------------------------------------------|----------------------|
| `gcn`          | graph convolutions (Kipf and Welling)                                          | 1: weights shared    |
| `mlp_per_node` | a multilayer perceptron of its own for each node, which sees that node alone   | N                    |
| `cnn`          | images only, when asked for: convolutions over 7 x 7 pixels, zero outside      | 1: weights shared    |
| `ridge`        | linear from all inputs to all outputs, closed form, penalty by validation loss | N                    |
| `mean`         | the training mean of every output, or frequency of every class                 | N                    |
| `last_value`   | forecasts only: the last step (METR-LA: reading) of the input, for every step  | N                    |
| `historical_average` | where the data has one: the training mean at that time of the week       | N                    |

The nets have the config's ``hidden_channels``, ``num_layers`` and ``act``: linear models are compared with linear ones.
Against a recurrent net, which is not linear with one cell either, they have two layers at least.

``num_weights`` counts what multiplies an input, as for the nets: biases, offsets and means are left out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnet.study.baseline_nets import NETS
from gnet.study.plan import choose_baselines
from gnet.training.classes import as_probabilities, cross_entropy, loss_for
from gnet.training.progress import KeepProgress
from gnet.training.trial import TrialResult, instantiate, metrics_of, run_trial

if TYPE_CHECKING:
    from gnet.training.data import Batch, GraphDataModule

Predictor = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model, whatever it is: its losses, its predictions on the common test set, and the function itself."""

    val_loss: float
    test_loss: float
    num_weights: int
    num_clusters: int
    predictions: np.ndarray
    function: Predictor
    datamodule: "GraphDataModule"
    seconds: float
    metrics: dict[str, float]

    @classmethod
    def of(cls, result: TrialResult) -> "Trained":
        """What a trial of a net left."""
        return cls(
            val_loss=result.val_loss,
            test_loss=result.test_loss,
            num_weights=result.num_weights,
            num_clusters=result.num_clusters,
            predictions=result.predictions,
            function=result.module.net or result.module,
            datamodule=result.datamodule,
            seconds=result.seconds,
            metrics=result.metrics,
        )


def train_baseline(name: str, config: dict[str, Any], threads: int, progress: KeepProgress | None = None) -> Trained:
    """Train one baseline on what ``config`` describes; ``progress`` as in ``run_trial``.

    Raises:
        ConfigError: no baseline of that name, or none for this task.
    """
    if name in NETS:
        return Trained.of(run_trial(config, threads=threads, make_module=NETS[name], progress=progress))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _fit(name, config)
    finally:
        torch.set_num_threads(before)


def fit_ridge(train: "Batch", val: "Batch", loss: str) -> tuple[Predictor, int]:
    """Ridge regression from all inputs to all outputs, with an unpenalised offset; the penalty is the best on validation.

    All penalties share one eigenvalue decomposition of the smaller Gram matrix. Entries of y that do not count are filled
    with their training mean.

    Shapes:
        train.x: (n, N, C)    train.y: (n, N, C') or (n, C')

    Example:
        >>> from gnet.training.data import Batch
        >>> x = torch.randn(50, 3, 1)
        >>> batch = Batch(x, 2 * x, torch.ones(50, 3, 1, dtype=torch.bool))
        >>> predict, num_weights = fit_ridge(batch, batch, "mse")
        >>> torch.allclose(predict(x), 2 * x, atol=1e-3), num_weights
        (True, 9)
    """
    x, y = train.x.flatten(1).double(), _filled(train).flatten(1)
    x_mean, y_mean = x.mean(0), y.mean(0)
    left, singular, right = torch.linalg.svd(x - x_mean, full_matrices=False)
    projected = left.mT @ (y - y_mean)  # (r, N C')

    def with_penalty(penalty: float) -> Predictor:
        shrunk = singular / (singular.square() + penalty).clamp_min(torch.finfo(torch.float64).tiny)
        weight = right.mT @ (shrunk[:, None] * projected)
        return lambda x: ((x.flatten(1).double() - x_mean) @ weight + y_mean).reshape(len(x), *train.y.shape[1:]).to(x.dtype)

    scale = float(singular.square().mean()) or 1.0
    candidates = [with_penalty(scale * 10.0**power) for power in np.arange(-6, 3.5, 0.5)]
    best = min(candidates, key=lambda predict: masked_loss(predict(val.x), val, loss))
    return best, x.shape[1] * y.shape[1]


def fit_mean(train: "Batch", val: "Batch", loss: str) -> tuple[Predictor, int]:
    """The training mean of every output, whatever the input.

    Example:
        >>> from gnet.training.data import Batch
        >>> y = torch.tensor([[[1.0]], [[3.0]]])
        >>> predict, _ = fit_mean(Batch(y, y, torch.ones_like(y, dtype=torch.bool)), None, "mse")
        >>> predict(torch.zeros(1, 1, 1))
        tensor([[[2.]]])
    """
    mean = _means(train).float()
    return lambda x: mean.to(x).expand(len(x), *mean.shape), 0


def fit_frequencies(train: "Batch", val: "Batch", loss: str) -> tuple[Predictor, int]:
    """The logarithms of the frequencies of the classes in training, of every output, whatever the input.

    One more sample, spread evenly over the classes, keeps the logarithm of what did not occur finite.

    Example:
        >>> from gnet.training.data import Batch
        >>> y = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> predict, _ = fit_frequencies(Batch(y[..., None], y, torch.ones_like(y, dtype=torch.bool)), None, "cross_entropy")
        >>> predict(torch.zeros(1, 2, 1)).exp()
        tensor([[0.8333, 0.1667]])
    """
    counts = train.y.double().masked_fill(~train.mask, 0.0).sum(0) + 1 / train.y.shape[-1]
    logits = (counts / counts.sum(-1, keepdim=True)).log().float()
    return lambda x: logits.to(x).expand(len(x), *logits.shape), 0


def last_value(channels: int, horizon: int, out_channels: int | None = None) -> Predictor:
    """Forecast the last step of the input for every step ahead, also known as persistence.

    Of ``channels`` in a step the first ``out_channels`` (by default all) are forecast. Inputs and targets have one unit per
    channel, so nothing is rescaled. Where the last step is missing it is 0, the mean; data with ``last_observed`` (METR-LA) are
    asked for the last reading that is there instead.

    Example:
        >>> last_value(channels=1, horizon=2)(torch.tensor([[[1.0, 5.0]]]))
        tensor([[[5., 5.]]])
        >>> last_value(channels=2, horizon=2, out_channels=1)(torch.tensor([[[5.0, 0.3]]]))
        tensor([[[5., 5.]]])
    """
    kept = out_channels or channels
    return lambda x: x[..., -channels:][..., :kept].repeat(*[1] * (x.ndim - 1), horizon)


Fit = Callable[["Batch", "Batch", str], tuple[Predictor, int]]
FITS: dict[str, Fit] = {"ridge": fit_ridge, "mean": fit_mean}
OF_DATA = {"historical_average": "historical_average", "last_value": "last_observed"}
"""Baselines that a data module may compute itself, ``method(split)`` in units of the data."""


def masked_loss(output: Tensor, batch: "Batch", loss: str, scale: Tensor | None = None) -> float:
    """Mean loss over the entries that count, of errors times ``scale`` (C',); a target with all its classes is one entry."""
    if loss == "cross_entropy":
        return float(cross_entropy(output.double(), batch).sum() / batch.mask[..., 0].sum())
    difference = (output - batch.y).double()
    difference = (difference if scale is None else difference * scale)[batch.mask]
    return float(difference.square().mean() if loss == "mse" else difference.abs().mean())


def _means(batch: "Batch") -> Tensor:
    counts = batch.mask.sum(0)
    return batch.y.double().masked_fill(~batch.mask, 0.0).sum(0) / counts.clamp_min(1)


def _filled(batch: "Batch") -> Tensor:
    return torch.where(batch.mask, batch.y.double(), _means(batch))


def _fit(name: str, config: dict[str, Any]) -> Trained:
    start = time.perf_counter()
    datamodule = instantiate(config["data"])
    choose_baselines([name], datamodule)
    loss = loss_for(config["model"].get("loss"), datamodule.classes)
    scale = datamodule.scaling.y.std if config["model"].get("loss_units") == "data" else None
    batches = {"val": datamodule.val_arrays(), "test": datamodule.test_arrays(), "predict": datamodule.predict_arrays()}
    num_weights = 0
    function: Predictor
    forecast = getattr(datamodule, OF_DATA.get(name, ""), None)
    if forecast is not None:
        outputs = {split: datamodule.scaling.y(forecast(split)) for split in batches}
        # Whatever the input: it is asked for the first inputs of "predict" only.
        function = lambda x: outputs["predict"][: len(x)].to(x)  # noqa: E731
    else:
        if name == "last_value":
            seen, made = datamodule.in_channels // datamodule.horizon_in, datamodule.out_channels // datamodule.horizon_out
            function = last_value(seen, datamodule.horizon_out, made)
        else:
            fit = FITS[name] if datamodule.classes is None else fit_frequencies
            function, num_weights = fit(datamodule.train_arrays(), batches["val"], loss)
        outputs = {split: function(batch.x) for split, batch in batches.items()}
    return Trained(
        val_loss=masked_loss(outputs["val"], batches["val"], loss, scale),
        test_loss=masked_loss(outputs["test"], batches["test"], loss, scale),
        num_weights=num_weights,
        num_clusters=int(datamodule.graph.num_nodes),
        predictions=as_probabilities(outputs["predict"], datamodule.classes).numpy(),
        function=function,
        datamodule=datamodule,
        metrics=metrics_of(_in_batches(outputs["test"], batches["test"], datamodule.batch_size), datamodule),
        seconds=time.perf_counter() - start,
    )


def _in_batches(outputs: Tensor, batch: "Batch", size: int | None) -> list[tuple[Tensor, "Batch"]]:
    """As a net's test loader has them: a metric may be a mean of those of batches."""
    step = size or max(1, len(outputs))
    return [(outputs[i : i + step], type(batch)(*(each[i : i + step] for each in batch))) for i in range(0, len(outputs), step)]
