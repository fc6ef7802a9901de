"""Which settings the chosen net reads: one that would change nothing is refused, and not passed over in silence."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from gnet.errors import ConfigError
from gnet.nn.checks import check_choice
from gnet.nn.make import NEAR, check_relaxation
from gnet.training.classes import Loss

LAYERED = ("act", "norm", "dropout", "residual", "bias", "parametrization", "init", "mixing", "num_bases", "layer", "relaxation")
"""Settings of nets of layers."""
GRAPHS = ("propagate", "tie_edges")
"""What the graph does in them."""
RECURRENT = ("diffusion_steps", "sampling_decay", "released")
"""Settings of the recurrent net."""
NET_SETTINGS = ("architecture", "hidden_channels", "num_layers", *LAYERED, *GRAPHS, *RECURRENT)
"""The hyper-parameters that decide the shape of a net."""
CHOICES = {
    "loss": get_args(Loss),
    "loss_units": ("model", "data"),
    "predict_units": ("data", "model"),
    "architecture": ("gnet", "gru"),
    "lr_interval": ("epoch", "step"),
}
"""The words that settings may be."""
OF_MAPS = ("layer", "relaxation", "beside", "parametrization", "init", "mixing", "num_bases", *GRAPHS)
"""Settings of maps from nodes to nodes."""


def refuse_unread(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], target: str | None = None, of_classes: bool = False
) -> None:
    """Refuse a setting other than its default that the architecture, the layer or the target (once it is known) does not read.

    With one layer ``hidden_channels``, ``act``, ``norm``, ``dropout`` and ``residual`` are of no use either; they stay, so that
    the depth can be varied alone.

    Raises:
        ConfigError: naming the setting, what it does not go with, and what to do.

    Example:
        >>> refuse_unread({"architecture": "gru", "norm": "batch"}, {"architecture": "gnet", "norm": None})
        Traceback (most recent call last):
        gnet.errors.ConfigError: architecture='gru' does not read norm='batch'; leave norm out, or take architecture='gnet'
    """
    for what, names, instead in _unread({**defaults, **settings}, target, of_classes):
        for name in names:
            if name in settings and settings[name] != defaults[name]:
                raise ConfigError(f"{what} does not read {name}={settings[name]!r}; leave {name} out, or {instead}")


def _unread(settings: Mapping[str, Any], target: str | None, of_classes: bool) -> Iterator[tuple[str, tuple[str, ...], str]]:
    if settings["architecture"] == "gru":
        yield "architecture='gru'", (*LAYERED, *GRAPHS), "take architecture='gnet'"
        return
    yield "architecture='gnet'", RECURRENT, "take architecture='gru'"
    if settings.get("layer") in ("relaxed", "relaxed_sender"):
        yield f"layer={settings['layer']!r}", ("parametrization", "mixing", "num_bases"), "take layer='equivariant'"
    if target == "graph" and settings["num_layers"] == 1:
        yield "one layer from nodes to one value per graph", OF_MAPS, "take num_layers=2"
    if of_classes:
        yield "the loss of classes", ("loss_units",), "give numbers as targets"


def check_settings(settings: dict[str, Any], num_beside: int, is_automatic: bool) -> None:
    """Refuse settings that no net could have, whatever the data."""
    layer, is_plain = settings["layer"], settings["architecture"] == "gnet" and settings["propagate"] == "none"
    if settings["project_onto"] is not None and settings["num_layers"] != 1:
        raise ConfigError(
            f"project_onto averages a linear map, so it needs num_layers=1, got num_layers={settings['num_layers']}"
        )
    if settings["project_onto"] is not None and (layer != "equivariant" or not is_plain):
        raise ConfigError("project_onto averages a linear map of a group; leave architecture, layer and propagate as they are")
    is_recurrent = settings["architecture"] == "gru"
    check_relaxation(layer, settings["relaxation"], 0 if is_recurrent else num_beside + is_automatic)
    if is_recurrent and layer in NEAR:
        raise ConfigError(f"architecture='gru' has layers of its own, and no {layer!r} ones; take architecture='gnet'")
    for name, choices in CHOICES.items():
        if settings[name] is not None:
            check_choice(name, settings[name], choices)
    if settings["lr"] <= 0:
        raise ConfigError(f"expected lr > 0, got {settings['lr']}")
    if settings["hidden_channels"] < 1:
        raise ConfigError(f"expected hidden_channels >= 1, got {settings['hidden_channels']}")
