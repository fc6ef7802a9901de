"""Functions on tensors, without weights of their own; one file for each form of the pair orbits.

``backend("scatter")`` computes with torch-scatter, ``backend("triton")`` with Triton, as GNET_BACKEND does for a whole process.
"""

from gnet.kernels import backends
from gnet.kernels.backends import backend

__all__ = ["backend"]

backends.start()
