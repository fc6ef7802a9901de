"""Targets that are classes: their names, what a net is shown of them, and the loss of its logits."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gnet.training.datamodule import Batch

Loss = Literal["mse", "mae", "cross_entropy"]
Texts = NDArray[np.str_]

UNKNOWN = ("", "nan")
"""Cells without a class, in small letters; "none" and "NA" are names that people give."""
FEWEST_EACH = 2
"""Known targets per class, on average: with fewer they are names or measurements, not classes."""
SHOWN = 6


def loss_for(asked: str | None, classes: Sequence[str] | None) -> str:
    """The loss that was asked for; with None that of the task: cross-entropy for classes, else the squared error.

    Raises:
        ConfigError: a loss of numbers for classes, or of classes for numbers.

    Example:
        >>> loss_for(None, None), loss_for(None, ["dry", "wet"])
        ('mse', 'cross_entropy')
    """
    if asked is None:
        return "mse" if classes is None else "cross_entropy"
    if classes is None and asked == "cross_entropy":
        raise ConfigError(
            "loss='cross_entropy' needs classes, and the targets of these data are numbers; take loss='mse' or 'mae', or "
            "task='classify' if the numbers name classes"
        )
    if classes is not None and asked != "cross_entropy":
        raise ConfigError(
            f"loss={asked!r} compares numbers, and the targets of these data are classes ({listed(classes)}); leave the loss "
            "out, or take loss='cross_entropy'"
        )
    return asked


def cross_entropy(output: Tensor, batch: "Batch") -> Tensor:
    """-y log softmax(output): over the classes of an entry it sums to minus the log of its known class' probability.

    Zero where the mask does not count the entry.

    Shapes:
        output: (*, K) logits, like ``batch.y``    returns: the same

    Units: nats.
    """
    return (-batch.y * output.log_softmax(-1)).masked_fill(~batch.mask, 0.0)


def as_probabilities(output: Tensor, classes: Sequence[str] | None) -> Tensor:
    """Softmax of logits where the targets are classes; any other output as it is.

    Example:
        >>> as_probabilities(torch.tensor([0.0, 0.0]), ["dry", "wet"]), as_probabilities(torch.tensor([3.0]), None)
        (tensor([0.5000, 0.5000]), tensor([3.]))
    """
    return output if classes is None else output.softmax(-1)


def class_texts(values: np.ndarray, source: str) -> Texts:
    """Classes as text, whatever they were: texts, whole numbers, truth values; empty where there is none.

    Whole numbers that went through a column with gaps ("1.0") are whole numbers again.

    Raises:
        DataError: fractions, which are no classes, or neither text nor numbers.

    Example:
        >>> class_texts(np.array([2.0, np.nan, 10.0]), "y"), class_texts(np.array(["dry", "", " wet", "nan"]), "y")
        (array(['2', '', '10'], dtype='<U2'), array(['dry', '', 'wet', ''], dtype='<U3'))
    """
    if values.dtype.kind not in "USiufb":
        raise DataError(f"{source}: expected classes as text or whole numbers, got {values.dtype}; write them as text")
    try:
        distinct, places = np.unique(values, return_inverse=True)
        words = [word.strip() for word in distinct.astype(str).tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: expected classes as text, got bytes that are none; write them as text") from error
    words = ["" if word.lower() in UNKNOWN else word for word in words]
    known = [word for word in words if word]
    if known and all(map(_is_number, known)):
        fractions = [word for word in known if not float(word).is_integer()]
        if fractions:
            raise DataError(
                f"{source}: expected classes as text or whole numbers, got {fractions[0]}; numbers are for task='regress'"
            )
        words = [re.sub(r"\.0*$", "", word) for word in words]
    return np.array(words)[places.reshape(values.shape)]


def per_node_or_graph(texts: Texts, num_nodes: int, target: str | None, source: str) -> Texts:
    """The classes without an axis of length one that says nothing: (T, N), one for each node, or (T,), one for the graph.

    Raises:
        ConfigError: ``target`` says otherwise.
        DataError: another shape.
    """
    shape = texts.shape
    if texts.ndim == 3 and shape[2] == 1:
        texts = texts[:, :, 0]
    if texts.ndim == 2 and texts.shape[1] == 1 and (num_nodes > 1 or target != "node"):
        texts = texts[:, 0]
    if texts.ndim == 1 and num_nodes == 1 and target == "node":
        texts = texts[:, None]
    if texts.shape[1:] not in ((), (num_nodes,)):
        raise DataError(
            f"{source}: expected one class for each node, (T, {num_nodes}), or for each sample, (T,), got {shape}; of "
            "one-hot rows give the class itself, y.argmax(-1)"
        )
    found = "node" if texts.ndim == 2 else "graph"
    if target not in (None, found):
        raise ConfigError(f"target={target!r}, but {source} has a class for each {found}, {shape}; leave target out")
    return texts


def names_of(texts: Texts, source: str) -> list[str]:
    """The classes that occur: numbers in their order, anything else in that of the alphabet.

    Raises:
        DataError: fewer than two, or about as many as there are targets.

    Example:
        >>> names_of(np.array(["10", "9", "", "9", "10"]), "y"), names_of(np.array(["wet", "dry", "dry", "wet"]), "y")
        (['9', '10'], ['dry', 'wet'])
    """
    names = [name for name in np.unique(texts).tolist() if name]
    if len(names) < 2:
        found = f"the one class {names[0]!r}" if names else "no class"
        raise DataError(f"{source}: expected at least two classes to tell apart, got {found}")
    known = int(np.count_nonzero(texts != ""))
    if known < FEWEST_EACH * len(names):
        raise DataError(
            f"{source}: {len(names)} classes among {known} known targets ({listed(names)}) leave nothing to learn a class by; "
            "numbers are for task='regress'"
        )
    return sorted(names, key=int) if all(re.fullmatch(r"[+-]?\d+", name) for name in names) else names


def one_hot(texts: Texts, classes: Sequence[str], source: str) -> tuple[Tensor, Tensor]:
    """Targets as a batch has them: 1 at the known class, 0 elsewhere, and a mask that leaves out what is not known.

    Shapes:
        texts: (T, N) or (T,)    returns: float and bool, (T, N, K) or (T, K); the mask is a view, the same for all classes

    Raises:
        DataError: a class that is not among ``classes``.

    Example:
        >>> y, mask = one_hot(np.array(["wet", "", "dry"]), ["dry", "wet"], "y")
        >>> y.tolist(), mask[:, 0].tolist()
        ([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]], [True, False, True])
    """
    distinct, places = np.unique(texts, return_inverse=True)
    number = {name: place for place, name in enumerate(classes)} | {"": len(classes)}
    other = [name for name in distinct.tolist() if name not in number]
    if other:
        raise DataError(f"{source}: {other[0]!r} is no class of the trained net, which knows {listed(classes)}")
    index = torch.tensor([number[name] for name in distinct.tolist()])[torch.from_numpy(places.reshape(texts.shape))]
    y = torch.nn.functional.one_hot(index, len(classes) + 1)[..., :-1].float()
    return y, (index < len(classes)).unsqueeze(-1).expand_as(y)


def unseen(y: Tensor, rows: Mapping[Any, Tensor]) -> list[int]:
    """The classes of validation and test samples that no training sample has.

    Shapes:
        y: (T, ..., K), 1 at the known class    rows: samples of each part

    Example:
        >>> unseen(torch.eye(3), {"train": torch.tensor([0]), "val": torch.tensor([2]), "test": torch.tensor([0])})
        [2]
    """
    train, val, test = (y[rows[part]].flatten(0, -2).any(0) for part in ("train", "val", "test"))
    return ((val | test) & ~train).nonzero().flatten().tolist()


def listed(classes: Sequence[str]) -> str:
    """The first names, for a message.

    Example:
        >>> listed([str(number) for number in range(9)])
        '0, 1, 2, 3, 4, 5, ... (9 in all)'
    """
    return ", ".join(classes[:SHOWN]) + (f", ... ({len(classes)} in all)" if len(classes) > SHOWN else "")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
