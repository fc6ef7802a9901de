"""What each way of averaging costs and leaves over: a random net on clouds of points."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from gnet.errors import ConfigError
from gnet.groups import TRIVIAL_ACTION, Group
from gnet.measures import equivariance_error
from gnet.plugins.averaging.averaged import Averaged
from gnet.plugins.tensors import SO, B, O
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AveragingModes(Simulation):
    """Relative error of the invariance of an averaged net, and calls of the net per input, for each mode.

    Exact averages and frames are invariant to rounding. A quadrature is exact for polynomials; the net is none, and its error
    falls with the degree as fast as the net is smooth. Random elements leave an error that falls with the root of their number.

    Args:
        num_points: of a cloud.
        hidden: width of the net.
        degrees: of the quadratures over SO(3).
        samples: numbers of random elements of SO(3).
        num_inputs, num_elements: clouds and group elements by which the error is measured.
        seed: of everything that is drawn.

    Raises:
        ConfigError: numbers below one, or fewer than two elements.
    """

    def __init__(
        self,
        num_points: int = 6,
        hidden: int = 64,
        degrees: list[int] | None = None,
        samples: list[int] | None = None,
        num_inputs: int = 64,
        num_elements: int = 32,
        seed: int = 0,
    ) -> None:
        if min(num_points - 1, hidden, num_inputs, num_elements - 1) < 1:
            raise ConfigError("expected num_points >= 2, hidden >= 1, num_inputs >= 1 and num_elements >= 2")
        self.num_points, self.hidden, self.seed = num_points, hidden, seed
        self.degrees, self.samples = degrees or [2, 4], samples or [16, 64]
        self.num_inputs, self.num_elements = num_inputs, num_elements

    def modes(self) -> list[tuple[str, Group, Averaged]]:
        """Name, group and averaged net, all of one random net."""
        generator = torch.Generator().manual_seed(self.seed)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * self.num_points, self.hidden), nn.Tanh(), nn.Linear(self.hidden, 1)
        ).double()
        with torch.no_grad():
            for layer in (net[1], net[3]):
                layer.weight.normal_(0.0, layer.in_features**-0.5, generator=generator)  # type: ignore[operator, arg-type]
                layer.bias.normal_(generator=generator)  # type: ignore[operator]
        found: list[tuple[str, Group, Averaged]] = [("exact", B(3), Averaged(net, B(3)))]
        found += [(f"quadrature {L}", SO(3), Averaged(net, SO(3), mode="quadrature", degree=L)) for L in self.degrees]
        for num in self.samples:
            drawn = Averaged(net, SO(3), mode="sample", n_samples=num, resample="fixed", generator=generator)
            found.append((f"sample {num}", SO(3), drawn))
        found += [(f"frame {group.name}", group, Averaged(net, group, mode="frame")) for group in (SO(3), O(3))]
        return found

    def run(self) -> list[Measured]:
        """Measure every mode on the same clouds."""
        lines = []
        for name, group, averaged in self.modes():
            generator = torch.Generator().manual_seed(self.seed + 1)
            x = torch.randn(self.num_inputs, self.num_points, 3, dtype=torch.float64, generator=generator)
            start = time.perf_counter()
            error = equivariance_error(
                averaged, x, group, action_out=TRIVIAL_ACTION, num_samples=self.num_elements, generator=generator
            )
            seconds = (time.perf_counter() - start) / (self.num_elements + 1)
            is_exact = name.split()[0] in ("exact", "frame")
            settings = {"mode": name, "group": group.name}
            expected, kind = (0.0, "exact") if is_exact else (float("nan"), "unknown")
            lines.append(Measured("equivariance_error", settings, error.relative, float("nan"), expected, kind))  # type: ignore[arg-type]
            lines.append(Measured("calls", settings, calls(averaged), 0.0, calls(averaged)))
            lines.append(Measured("seconds_per_batch", settings, seconds, float("nan"), float("nan"), "unknown"))
        return lines

    def summary(self, lines: Sequence[Measured]) -> str:
        """A table: error and cost of each mode."""
        names = list(dict.fromkeys((line.settings["mode"], line.settings["group"]) for line in lines))
        found = {(line.quantity, line.settings["mode"]): line.measured for line in lines}
        rows = ["| mode | group | calls per input | relative error |", "| --- | --- | --- | --- |"]
        for mode, group in names:
            rows.append(f"| {mode} | {group} | {found['calls', mode]:.0f} | {found['equivariance_error', mode]:.1e} |")
        return "\n".join(rows)

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Error against calls."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(0.6 * PAGE, 3.0)
        axes = figure.subplots()
        found = {(line.quantity, line.settings["mode"]): line.measured for line in lines}
        modes = list(dict.fromkeys(line.settings["mode"] for line in lines))
        for number, kind in enumerate(dict.fromkeys(mode.split()[0] for mode in modes)):
            mine = [mode for mode in modes if mode.split()[0] == kind]
            costs = [found["calls", mode] for mode in mine]
            errors = [max(found["equivariance_error", mode], 1e-17) for mode in mine]
            axes.plot(costs, errors, color=COLOURS[number], marker=MARKERS[number], label=kind)
        axes.set(xscale="log", yscale="log", xlabel="calls of the net per input", ylabel="relative error")
        axes.legend()
        return figure


def calls(averaged: Averaged) -> int:
    """How often the module sees each input.

    Example:
        >>> calls(Averaged(torch.sum, B(3)))
        48
    """
    if averaged.mode != "frame":
        return len(averaged.weights)  # type: ignore[arg-type]
    special = all(float(torch.linalg.det(g)) > 0 for g in averaged.group.generators)
    return 4 if special else 8
