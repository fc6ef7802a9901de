"""The Reynolds operator as a wrapper: any module made symmetric, exactly, by quadrature, by chance or by frames."""

from gnet.plugins.averaging import frames
from gnet.plugins.averaging.averaged import Averaged, project_linear

__all__ = ["Averaged", "frames", "project_linear"]
