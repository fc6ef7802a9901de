"""The equations of vegetation found back from its simulation: data, library, scales, and the coefficients that are expected."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gnet.plugins.units import Quantity
from gnet.plugins.vegetation.model import FIELD_UNITS, PHYSICAL, SYSTEM, UNITS, Rietkerk
from gnet.plugins.vegetation.pde import PDEData
from gnet.plugins.vegetation.solver import solve

LIBRARY = (
    "1",
    "w",
    "v",
    "u / (1 + v)",
    "u * v / (1 + v)",
    "v * w",
    "v * w / (1 + w)",
    "w / (1 + w)",
    "u * w",
    "v**2",
    "w**2",
    "lap(u)",
    "lap(w)",
    "lap(v)",
)
"""Candidates for every field in dimensionless form. Never also u: it is the sum of two of them."""
SCALES: Mapping[str, str] = {"u": "R / alpha", "w": "k1", "v": "k2", "time": "1 / alpha", "length": "L"}
"""What fields, time and length are divided by."""


def pattern_data(
    model: Rietkerk, start: Tensor, at: Sequence[int], length: float | None = None, *, progress: bool = False
) -> PDEData:
    """Snapshots after so many steps, with the change within one step of dt each, of every set of parameters.

    Args:
        length: the parameter L of the data, in the units of ``model``; its own side by default. A common unit of length gives
            the same coefficients on every torus.

    Shapes:
        start: (B, 3, n, n) or (1, 3, n, n)    samples: len(at) B, sets of parameters fastest

    Raises:
        ConvergenceError: as ``solve``.

    Example:
        >>> model = Rietkerk(L=16.0)
        >>> start = model.start(torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) < 0.3)
        >>> pattern_data(model, start, [0, 100, 200])
        PDEData(3 samples of 8x8 cells: u, w, v, R, alpha, k2, W0, Du, gm, k1, dw, Dw, c, dv, Dv, L)
    """
    steps = sorted({each + more for each in at for more in (0, 1)})
    found = dict(zip(steps, solve(model, start, steps, progress=progress), strict=True))
    before, after = (torch.cat([found[each + more] for each in at]) for more in (0, 1))
    now, later = ({f: SYSTEM(each[:, i], text) for i, (f, text) in enumerate(FIELD_UNITS.items())} for each in (before, after))
    parameters = {name: _for_samples(model[name], name, len(at)) for name in PHYSICAL}
    side = model["L"] if length is None else torch.full_like(model["L"], length)
    parameters["L"] = _for_samples(side, "L", len(at))
    step, spacing = _for_samples(model["dt"], "dt", len(at)), SYSTEM(model["dl"][0], "m")
    return PDEData.from_pairs(now, later, step, spacing, parameters)


def _for_samples(values: Tensor, name: str, times: int) -> Quantity:
    same = bool((values == values[0]).all())
    return SYSTEM(values[0] if same else values.repeat(times), UNITS[name])


def expected_coefficients(model: Rietkerk, length: float | None = None) -> dict[str, dict[str, float]]:
    """Those of ``LIBRARY`` in the equations of one set of parameters, with ``SCALES``.

    Example:
        >>> {term: round(value, 10) for term, value in expected_coefficients(Rietkerk())["v"].items()}
        {'v * w / (1 + w)': 5.0, 'v': -1.25, 'lap(v)': 1.25e-05}
    """
    p = {name: float(model[name][0]) for name in UNITS}
    rate, area, fill = p["alpha"], p["alpha"] * (length or p["L"]) ** 2, p["R"] / (p["alpha"] * p["k1"])
    return {
        "u": {"1": 1.0, "u / (1 + v)": -p["W0"], "u * v / (1 + v)": -1.0, "lap(u)": p["Du"] / area},
        "w": {
            "u / (1 + v)": fill * p["W0"],
            "u * v / (1 + v)": fill,
            "v * w / (1 + w)": -p["gm"] * p["k2"] / (rate * p["k1"]),
            "w": -p["dw"] / rate,
            "lap(w)": p["Dw"] / area,
        },
        "v": {"v * w / (1 + w)": p["c"] * p["gm"] / rate, "v": -p["dv"] / rate, "lap(v)": p["Dv"] / area},
    }
