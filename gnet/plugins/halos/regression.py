"""Stellar masses from halos: a ridge regression with scikit-learn, a perceptron with Lightning."""

import tempfile
import warnings
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, QuantileTransformer, StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.nn import MLP

from gnet.errors import ConfigError, DataError, NonFiniteError, ShapeError
from gnet.plugins.halos.data import Halos
from gnet.plugins.halos.features import geometric_features, halo_scalars
from gnet.study.fitting import fit

QUANTILES = 100
"""Of the map from an input to a normal one."""
CLIP = 3.0
"""Largest mapped input of the ridge regression, in standard deviations: its tails would otherwise decide the fit."""


@dataclass(frozen=True)
class HaloTable:
    """One row for each halo.

    Shapes:
        X: (H, 1 + scalars), log10 of the halo's mass first    y: (H,), log10 of the stellar mass    names: of the columns

    Raises:
        ShapeError: other shapes.
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.X.shape != (len(self.y), len(self.names)) or self.y.ndim != 1:
            wanted = f"X (H, {len(self.names)}) and y (H,) for {len(self.names)} names"
            raise ShapeError(f"expected {wanted}, got {self.X.shape} and {self.y.shape}")

    @classmethod
    def of(cls, halos: Halos, **options: Any) -> "HaloTable":
        """Scalars of the published bins; ``options`` are those of ``halo_scalars``.

        Raises:
            ConfigError: an option that ``halo_scalars`` refuses.

        Example:
            >>> from gnet.plugins.halos import synthetic_halos
            >>> HaloTable.of(synthetic_halos(5), pairs=False).X.shape
            (5, 31)
        """
        features = geometric_features(halos.x, halos.v, halos.mass, halos.batch, num_halos=len(halos))
        scalars, names = halo_scalars(features, **options)
        X = torch.cat([halos.log_mass[:, None], scalars], 1)
        return cls(X.numpy(), halos.log_stellar_mass.numpy(), ("log10 M", *names))

    def split(self, train: float = 0.7, val: float = 0.15, seed: int | None = 0) -> tuple["HaloTable", "HaloTable", "HaloTable"]:
        """Rows for training, for validation and the rest: drawn by the seed, for catalogues are sorted by mass.

        Args:
            train, val: shares.
            seed: of the draw; None takes the rows in their order, which has to be random then.

        Raises:
            ConfigError: shares that leave one of the three empty.

        Example:
            >>> table = HaloTable(np.arange(20.0)[:, None], np.arange(20.0), ("log10 M",))
            >>> [len(part.y) for part in table.split()], table.split(seed=None)[0].y.max()
            ([14, 3, 3], np.float64(13.0))
        """
        ends = [round(train * len(self.y)), round((train + val) * len(self.y))]
        if not 0 < ends[0] < ends[1] < len(self.y):
            raise ConfigError(f"expected shares that leave rows for each part of {len(self.y)}, got {train} and {val}")
        order = np.arange(len(self.y)) if seed is None else np.random.default_rng(seed).permutation(len(self.y))
        first, second, third = (HaloTable(self.X[rows], self.y[rows], self.names) for rows in np.split(order, ends))
        return first, second, third


def half_width(errors: np.ndarray) -> float:
    """Half the distance between the 16th and 84th percentile: of normal errors the standard deviation.

    Raises:
        DataError: no errors, or some that are not finite.

    Example:
        >>> round(half_width(np.linspace(-1.0, 1.0, 101)), 6)
        0.68
    """
    if not len(errors) or not np.isfinite(errors).all():
        raise DataError(f"expected finite errors, got {np.count_nonzero(~np.isfinite(errors))} others among {len(errors)}")
    low, high = np.percentile(errors, [16, 84])
    return float(high - low) / 2


def ridge_pipeline() -> Pipeline:
    """Ridge regression on powers 1 to 4 of the first column, and on the others mapped to normal ones and cut at 3.

    The strength is chosen by leave-one-out on the training rows; nothing is drawn at random. Fit it on ``HaloTable.X`` and ``y``.

    Example:
        >>> from gnet.plugins.halos import synthetic_halos
        >>> table = HaloTable.of(synthetic_halos(200, 50), pairs=False)
        >>> ridge_pipeline().fit(table.X, table.y).predict(table.X[:4]).shape
        (4,)
    """
    powers = make_pipeline(StandardScaler(), PolynomialFeatures(degree=4, include_bias=False))
    normal = make_pipeline(
        _Quantiles(n_quantiles=QUANTILES, output_distribution="normal", subsample=None),
        FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP}, feature_names_out="one-to-one"),
    )
    columns = ColumnTransformer([("mass", powers, [0]), ("scalars", normal, _scalars)])
    return make_pipeline(columns, RidgeCV(alphas=np.logspace(-4, 4, 17)))


class _Quantiles(QuantileTransformer):
    """From all rows, whatever their number, so that no draw decides; of few rows every one is a quantile, without a warning."""

    def fit(self, X: np.ndarray, y: Any = None) -> "_Quantiles":
        """Quantiles of each column."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_quantiles", UserWarning)
            super().fit(X, y)
        return self


def _scalars(X: np.ndarray) -> list[int]:
    return list(range(1, X.shape[1]))


class GalaxyModule(pl.LightningModule):
    """Perceptron on inputs mapped to normal ones, trained by the Gaussian likelihood with given variances.

    Args:
        in_features: columns of the input.
        width, layers: of the hidden layers: linear, batch norm, SELU, dropout.
        dropout: probability.
        lr, weight_decay: of Adam; the step swings between ``lr`` and 1e-6 with a half period of 32 epochs.

    Shapes:
        batch: (x (B, in_features), y (B,), variance (B,))    forward: (B,)

    References:
        The settings are those of the public code of Storey-Fisher, Hogg, Genel, Hattori and Villar.

    Example:
        >>> GalaxyModule(31, width=8, layers=2)(torch.randn(5, 31)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        in_features: int,
        width: int = 128,
        layers: int = 6,
        dropout: float = 0.5,
        lr: float = 5e-5,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = MLP([in_features, *[width] * layers, 1], dropout=dropout, act="selu", norm="batch_norm")
        self.loss = nn.GaussianNLLLoss()

    def forward(self, x: Tensor) -> Tensor:
        """The prediction."""
        return self.net(x)[:, 0]

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self._loss(batch)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log ``val_loss``."""
        self.log("val_loss", self._loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self) -> Any:
        """Adam, and its cosine."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["lr"], weight_decay=self.hparams["weight_decay"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=32, eta_min=1e-6),
        }

    def _loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        x, y, variance = batch
        return self.loss(self(x), y, variance)


class Perceptron:
    """``fit`` and ``predict`` around ``GalaxyModule``: maps inputs to normal ones, and y to mean zero and deviation one.

    Stops when the validation loss has not fallen for ``patience`` epochs, and keeps the best one's weights.

    Args:
        variance: of y, given.
        max_epochs, patience, batch_size: of the training.
        seed: of weights, batches and dropout.
        options: of ``GalaxyModule``.
    """

    def __init__(
        self,
        variance: float = 0.05**2,
        max_epochs: int = 1000,
        patience: int = 50,
        batch_size: int = 128,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if not variance > 0.0 or min(max_epochs, patience, batch_size) < 1:
            raise ConfigError("expected variance > 0, and max_epochs, patience and batch_size >= 1")
        self.variance, self.max_epochs, self.patience, self.batch_size = variance, max_epochs, patience, batch_size
        self.seed, self.options = seed, options

    def fit(self, train: HaloTable, val: HaloTable) -> "Perceptron":
        """Train on one table, stop by another.

        Raises:
            ShapeError: tables with other columns.
            DataError: fewer than two rows, values that are not finite, or a single value of y.
        """
        if train.names != val.names:
            raise ShapeError(f"expected tables of the same columns, got {len(train.names)} and {len(val.names)}")
        if len(train.y) < 2 or not len(val.y):
            raise DataError(f"expected two rows to train on or more and one to stop by, got {len(train.y)} and {len(val.y)}")
        if not all(np.isfinite(each).all() for each in (train.X, train.y, val.X, val.y)) or train.y.min() == train.y.max():
            raise DataError("expected finite tables and values of y that differ, got NaN, infinity, or one value alone")
        self.inputs = _Quantiles(n_quantiles=QUANTILES, output_distribution="normal", subsample=None).fit(train.X)
        self.mean, self.deviation = float(train.y.mean()), float(train.y.std())
        with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(self.seed)
            self.module = GalaxyModule(train.X.shape[1], **self.options)
            best = ModelCheckpoint(folder, monitor="val_loss", save_weights_only=True)
            # A last batch of one halo has no batch statistics.
            batches = DataLoader(self._data(train), self.batch_size, shuffle=True, drop_last=len(train.y) > self.batch_size)
            trainer = fit(
                self.module,
                batches,
                DataLoader(self._data(val), len(val.y)),
                max_epochs=self.max_epochs,
                enable_checkpointing=True,
                callbacks=[EarlyStopping("val_loss", patience=self.patience), best],
            )
            if best.best_model_path:
                self.module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
        self.epochs = trainer.current_epoch
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """In units of y, (H, columns) -> (H,).

        Raises:
            ConfigError: before ``fit``.
            ShapeError: other columns than those of the training.
            NonFiniteError: predictions that are NaN or infinite.
        """
        if not hasattr(self, "module"):
            raise ConfigError("nothing was fitted; call fit first")
        if X.ndim != 2 or X.shape[1] != self.inputs.n_features_in_:
            raise ShapeError(f"expected X (H, {self.inputs.n_features_in_}), as in training, got {X.shape}")
        self.module.eval()
        with torch.no_grad():
            found = self.module(self._inputs(X)).numpy() * self.deviation + self.mean
        if not np.isfinite(found).all():
            raise NonFiniteError("expected finite predictions, got NaN or infinity; take a smaller lr")
        return found

    def _inputs(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(self.inputs.transform(X)).float()

    def _data(self, table: HaloTable) -> TensorDataset:
        y = torch.from_numpy((table.y - self.mean) / self.deviation).float()
        return TensorDataset(self._inputs(table.X), y, torch.full_like(y, self.variance / self.deviation**2))
