"""A trained net for programs without Python: as a graph of torch.export, and as an ONNX file."""

import argparse
import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from gnet.errors import ConfigError, MissingExtraError
from gnet.training.checkpoint import TrainedNet, load

ONNX = ("onnx", "onnxscript")


class _InUnits(nn.Module):
    """``predict`` without its check of the values, which a graph cannot hold: an infinite reading gives whatever it gives."""

    def __init__(self, trained: TrainedNet) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, x: Tensor) -> Tensor:
        if self.trained.missing_input is not None:
            x = x.masked_fill(x.isnan(), self.trained.missing_input)
        return self.trained.to_units(self.trained.net(self.trained.scaling.x.filled(x)))


def as_program(trained: TrainedNet, *, in_units: bool = True) -> ExportedProgram:
    """The net as a graph of torch.export, for any number of samples in one batch.

    Args:
        in_units: from the data's own units, NaN where a reading is missing, to the data's own units, as ``trained.predict``; else
            from the model's to the model's, as ``trained`` itself.

    Shapes:
        of its input: (B, N, C)    of its output: (B, N, C'), or (B, C') where the target is one value per graph

    Example:
        >>> from gnet.training.export import as_program
        >>> as_program(load("net.ckpt")).module()(torch.randn(5, 64, 1)).shape  # doctest: +SKIP
        torch.Size([5, 64, 1])
    """
    module = (_InUnits(trained) if in_units else trained).eval()
    weight = next(trained.net.parameters())
    x = torch.zeros(2, trained.graph.num_nodes, trained.in_channels, dtype=weight.dtype, device=weight.device)
    # Strict: without Python in between, the size of the batch stays free through products over axes.
    with torch.no_grad():
        return torch.export.export(module, (x,), dynamic_shapes=({0: Dim("batch")},), strict=True)


def to_onnx(trained: TrainedNet, path: str | Path, *, in_units: bool = True) -> Path:
    """Write the net as an ONNX file, which onnxruntime and others execute: input ``x``, output ``y``, a free axis ``batch``.

    The file's metadata hold ``node_ids`` (JSON, in the order of the nodes), ``group``, and, of classes, their names ``classes``.

    Args:
        in_units: as in ``as_program``.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ConfigError: the path does not end in .onnx, or its folder does not exist.

    Example:
        >>> to_onnx(load("net.ckpt"), "net.onnx")  # doctest: +SKIP
        PosixPath('net.onnx')
    """
    file = Path(path)
    if file.suffix != ".onnx" or not file.parent.is_dir():
        raise ConfigError(f"expected a path NAME.onnx in a folder that exists, got {path}")
    for name in ONNX:
        try:
            __import__(name)
        except ImportError as error:
            raise MissingExtraError(
                f"an ONNX file needs {name}, which is not installed: pip install --editable '.[onnx]'"
            ) from error
    program = as_program(trained, in_units=in_units)
    made = torch.onnx.export(program, dynamo=True, input_names=["x"], output_names=["y"], verbose=False)
    if made is None:
        raise ConfigError("torch made no ONNX program of this net")
    made.model.metadata_props["node_ids"] = json.dumps([str(node) for node in trained.node_ids])
    made.model.metadata_props["group"] = trained.group.name if trained.group is not None else ""
    if trained.classes is not None:
        made.model.metadata_props["classes"] = json.dumps([str(each) for each in trained.classes])
    made.save(str(file), external_data=False)
    return file


def parser() -> argparse.ArgumentParser:
    """The options of ``export``."""
    words = argparse.ArgumentParser(
        prog="export",
        description="Write a trained net as an ONNX file, from the data's units to the data's units.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    words.add_argument("--ckpt_path", type=Path, metavar="FILE", help="checkpoint of fit or study")
    words.add_argument("--out", type=Path, metavar="FILE", help="the file to write (beside the checkpoint, .onnx)")
    words.add_argument("--model_units", action="store_true", help="standardised inputs and outputs, as the bare net has them")
    return words


def main(argv: Sequence[str]) -> int:
    """``train.py export``; returns the exit code.

    Raises:
        ConfigError: options that do not exist.
        CheckpointError: no checkpoint of gnet.
    """
    words = parser()
    try:
        given, rest = words.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(f"export: {error}") from error
    if rest:
        near = difflib.get_close_matches(rest[0].partition("=")[0], words._option_string_actions, n=1)
        raise ConfigError(f"there is no option {rest[0]}{f'; did you mean {near[0]}?' if near else ' of export.'}")
    if given.ckpt_path is None:
        raise ConfigError("export needs --ckpt_path FILE, a checkpoint that fit or study wrote")
    out = given.out or given.ckpt_path.with_suffix(".onnx")
    trained = load(given.ckpt_path)
    to_onnx(trained, out, in_units=not given.model_units)
    shape = f"(batch, {trained.graph.num_nodes}, {trained.in_channels})"
    units = "the model's units" if given.model_units else "the data's units, NaN where a reading is missing"
    print(f"Written to {out}: input x {shape} in {units}, output y. To run it: pip install onnxruntime")
    return 0
