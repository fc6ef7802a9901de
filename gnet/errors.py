"""What a bad input gets: an error that says what was expected, what came, and the nearest fix."""


class GnetError(Exception):
    """Base of every error gnet raises on purpose."""


class ShapeError(GnetError, ValueError):
    """A tensor has the wrong shape, dtype or device."""


class PartitionError(GnetError, ValueError):
    """Labels that are no partition, or a partition that does not fit what it is used with."""


class GraphError(GnetError, ValueError):
    """A graph with impossible edges or weights, or not the graph that was expected."""


class GroupError(GnetError, ValueError):
    """Elements or generators that form no group of the kind asked for."""


class NotFiniteError(GroupError):
    """All elements were asked for, of a group that has infinitely many, or too many to list."""


class NotCompactError(GroupError):
    """An average over a group that has no uniform (Haar) probability."""


class RepresentationError(GnetError, ValueError):
    """A type of tensors that does not exist, does not fit, or is too large to make."""


class UnitsError(GnetError, ValueError):
    """Units that cannot be added, compared or reached, or a number expected where a quantity has units."""


class DegenerateInputError(GnetError, ValueError):
    """An input at which a formula is not defined: a zero vector, a tie, equal eigenvalues, a singular frame."""


class ConvergenceError(GnetError, RuntimeError):
    """An iterative method did not reach its tolerance; the message says how far it came."""


class DataError(GnetError, ValueError):
    """A data file that is missing, corrupt, or holds something other than promised."""


class ConfigError(GnetError, ValueError):
    """A setting that does not exist or contradicts another."""


class CheckpointError(GnetError, ValueError):
    """A checkpoint that cannot be read, or that belongs to another graph or model."""


class NonFiniteError(GnetError, ArithmeticError):
    """The net produced NaN or infinity; the message names the batch."""


class MissingExtraError(GnetError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""
