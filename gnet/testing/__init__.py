"""The laws that every group and every layer obeys, for ours and for a stranger's.

``check_group(group)`` and ``check_layer(layer, group)`` raise ``LawBroken`` with the law, the measured error and the tolerance.
"""

from gnet.testing.groups import brute_force_mean, check_group, enumerate_elements
from gnet.testing.layers import check_layer, expressible_rank
from gnet.testing.tolerances import LawBroken, tolerance

__all__ = ["LawBroken", "brute_force_mean", "check_group", "check_layer", "enumerate_elements", "expressible_rank", "tolerance"]
