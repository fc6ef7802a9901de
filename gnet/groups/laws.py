"""What averages and random moves ask of a group's law of drawing."""

from gnet.errors import NotCompactError
from gnet.groups.base import Group


def require_uniform(group: Group, what: str, *, is_drawn: bool = False) -> None:
    """Refuse averages over a group that has no uniform law to average by.

    Args:
        is_drawn: whether the average is over elements of ``group.sample``, which a chosen law may draw; an exact average is over
            the uniform law, whatever was chosen.

    Raises:
        NotCompactError: the group is not compact, and nothing was chosen that would serve.

    Example:
        >>> require_uniform(SymmetricGroup(3), "an average")
    """
    if not group.is_compact and not (is_drawn and group.sampling == "chosen"):
        raise NotCompactError(
            f"{what} needs a compact group, got {group.name}: it has no Haar probability; use invariants or units, "
            "or average over a compact subgroup"
        )


def require_sampler(group: Group, what: str) -> None:
    """Refuse random elements of a group that has no uniform law, unless a law was chosen.

    Raises:
        NotCompactError: elements would be local ones that nobody asked for.

    Example:
        >>> require_sampler(SymmetricGroup(3), "a penalty")
    """
    if group.sampling == "local":
        raise NotCompactError(
            f"{what} draws elements, and {group.name} is not compact: it has no uniform law; choose one: "
            "group.sampled_by(lambda num, generator: ...)"
        )
