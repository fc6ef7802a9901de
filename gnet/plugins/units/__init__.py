"""Units: typed quantities, dimensionless products in exact integers, and functions that every change of units carries along."""

from collections.abc import Callable

from gnet.groups import GeneratedGroup
from gnet.plugins.units.equivariant import Rescalings, UnitsEquivariant, rescale, units_action
from gnet.plugins.units.lattices import dimensionless_basis, scaling_exponents
from gnet.plugins.units.missing import missing_constant
from gnet.plugins.units.names import Units, product_text
from gnet.plugins.units.products import Products
from gnet.plugins.units.quantities import Quantity
from gnet.plugins.units.regressor import DimensionlessRegressor
from gnet.plugins.units.transformer import DimensionlessFeatures
from gnet.plugins.units.typed import typed
from gnet.plugins.units.vectors import VectorUnitsEquivariant, scalar_products

CATALOG: dict[str, Callable[[], GeneratedGroup]] = {"Rescalings(3)": lambda: Rescalings(3)}
"""How each group is written -> a function that makes it: what this family adds to ``python -m gnet catalog``."""

__all__ = [
    "CATALOG",
    "DimensionlessFeatures",
    "DimensionlessRegressor",
    "Products",
    "Quantity",
    "Rescalings",
    "Units",
    "UnitsEquivariant",
    "VectorUnitsEquivariant",
    "dimensionless_basis",
    "missing_constant",
    "product_text",
    "rescale",
    "scalar_products",
    "scaling_exponents",
    "typed",
    "units_action",
]
