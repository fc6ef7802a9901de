"""What a study will train: named variants of one config, each for every draw of the training set and every seed."""

import copy
import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnet.errors import ConfigError
from gnet.groups import ClusterGroup, NodeGroup
from gnet.nn.checks import check_choice
from gnet.randomness import derive_seed
from gnet.training.automatic import Automatic
from gnet.training.checkpoint import is_forecast
from gnet.training.settings import GRAPHS, LAYERED, RECURRENT
from gnet.training.symmetry import Symmetric, Trivial, as_symmetry

Config = dict[str, Any]
Resolve = Callable[[list[str]], Config]
Kind = Literal["symmetry", "baseline"]
Backend = Literal["processes", "ray"]

SEEDS = ("seed_everything", "model.seed", "data.seed", "data.init_args.seed")
DRAWS = ("data.draw", "data.init_args.draw")
NET_BASELINES = ("gcn", "mlp_per_node", "cnn")
BASELINES = (*NET_BASELINES, "ridge", "mean", "last_value", "historical_average")


@dataclass(frozen=True)
class Variant:
    """One thing a study trains: a symmetry (or anything else that config overrides can say), or a baseline."""

    name: str
    kind: Kind
    config: Config
    overrides: dict[str, Any]
    group: NodeGroup | None

    @property
    def log_order(self) -> float:
        """Logarithm of the group's order (784! is no number for a float); NaN for baselines."""
        return math.nan if self.group is None else math.log(self.group.order())


@dataclass(frozen=True)
class Plan:
    """All that ``run_study`` needs: the variants, how often each is trained, and where the results go.

    ``threads`` is part of the result (sums depend on how they are cut up), ``jobs`` is not. ``reference`` names the variant
    whose group the column ``equivariance_error`` refers to. A trial is written down every ``progress_seconds``, which no result
    depends on; nor does any on the ``backend``, processes of this machine or a Ray cluster. With ``vectorize`` trials of one
    shape are trained at once, with the same results to rounding.
    """

    variants: tuple[Variant, ...]
    out: Path
    seeds: tuple[int, ...]
    draws: int = 1
    jobs: int = 2
    threads: int = 1
    reference: str = ""
    checkpoints: bool = True
    record: Path | None = None
    config_name: str = ""
    overrides: str = ""
    command: str = ""
    progress_seconds: float = 180.0
    backend: Backend = "processes"
    vectorize: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (("draws", self.draws, 1), ("jobs", self.jobs, 0), ("threads", self.threads, 1)):
            if value < least:
                raise ConfigError(f"expected --{name} >= {least}, got {value}")
        check_choice("--backend", self.backend, Backend)
        if self.backend == "ray" and self.jobs == 0:
            raise ConfigError("--jobs 0 trains in this process, and --backend ray on a cluster; give one of the two")
        if not self.seeds:
            raise ConfigError("expected --seeds >= 1, got 0")
        if self.seeds[0] < 0:
            raise ConfigError(f"expected --first-seed >= 0, got {self.seeds[0]}")
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"expected variants with different names, got {', '.join(twice)} twice")
        folders = {slug(name): name for name in names}
        if len(folders) < len(names):
            raise ConfigError(
                f"expected names that stay different as folders, got {sorted(set(names) - set(folders.values()))} twice"
            )
        if self.reference and self.reference not in {variant.name for variant in self.variants if variant.group is not None}:
            symmetries = [variant.name for variant in self.variants if variant.group is not None]
            raise ConfigError(f"expected --reference to be one of {', '.join(symmetries)}, got {self.reference}")


def run_seed(draw: int, seed: int) -> int:
    """The seed a trial is run with: ``seed`` itself on the first draw, an independent one on every other.

    Seeds are nested in draws: were the same initialisation used on every training set, its effect would not average out over
    draws, and the correction in bias^2 would miss it.

    Example:
        >>> run_seed(0, 3), run_seed(1, 3) == run_seed(2, 3)
        (3, False)
    """
    return seed if draw == 0 else derive_seed(seed, "draw", draw) % 2**31


def trial_config(config: Config, draw: int, seed: int) -> Config:
    """The config of one trial: the variant's, with the trial's draw and seed wherever they belong."""
    trial = copy.deepcopy(config)
    number = run_seed(draw, seed)
    trial["seed_everything"] = number
    trial.setdefault("model", {})["seed"] = number
    trial["data"].setdefault("init_args", {}).update(seed=number, draw=draw)
    return trial


def refuse_seeds(option: str) -> None:
    """Refuse a seed or a draw for all trials, since each trial has its own.

    Raises:
        ConfigError: with the options of ``study`` that say how many there are.

    Example:
        >>> refuse_seeds("data.draw")
        Traceback (most recent call last):
        ...
        gnet.errors.ConfigError: a study gives every trial its own seed and draw; instead of --data.draw give --draws N
    """
    name = option.removeprefix("--")
    if name in SEEDS or name in DRAWS:
        instead = "--draws N" if name in DRAWS else "--first-seed N and --seeds N"
        raise ConfigError(f"a study gives every trial its own seed and draw; instead of --{name} give {instead}")


def group_label(group: NodeGroup) -> str:
    """A short name for tables.

    Example:
        >>> from gnet.graphs import grid_patches
        >>> from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
        >>> [group_label(g) for g in (SymmetricGroup(16), ClusterGroup(grid_patches((4, 4), (2, 2))), TrivialGroup(16))]
        ['S16', 'S4^4', 'trivial']
    """
    if group.order() == 1:
        return "trivial"
    if not isinstance(group, ClusterGroup):
        return group.name
    partition = group.partition
    if group.swaps is not None:
        inside = group_label(ClusterGroup(partition))
        return "swaps" if inside == "trivial" else f"{inside} + swaps"
    sizes = partition.sizes.unique().tolist()
    if len(sizes) > 1:
        return f"{partition.num_clusters} clusters"
    return f"S{sizes[0]}" if partition.num_clusters == 1 else f"S{sizes[0]}^{partition.num_clusters}"


def slug(name: str) -> str:
    """A variant's name as a folder's.

    Example:
        >>> slug("S4^16"), slug("relaxed / 2")
        ('S4^16', 'relaxed_2')
    """
    return re.sub(r"[^A-Za-z0-9^.=+-]+", "_", name).strip("_.") or "variant"


def cluster_overrides(base: Config, num_clusters: int, num_nodes: int) -> dict[str, Any]:
    """What ``--clusters`` is shorthand for: 1 is Symmetric, N is Trivial, anything else the config's rule with that number.

    Of N clusters that may change places it is the config's rule too: the swaps are what remains. Where the config projects, it
    is the target of the projection that varies: that is the group of the net in the end.
    """
    key = "project_onto" if base["model"].get("project_onto") else "symmetry"
    rule = as_symmetry(base["model"][key])
    if not rule.has_clusters:
        raise ConfigError(
            f"--clusters ranges over numbers of clusters, and {type(rule).__name__} has none; give --model.symmetry Coarsened, "
            "or name what to compare in the config: study: {variants: {Aut: {model.symmetry: Automorphism}, ...}}"
        )
    if num_clusters == 1:
        rule = Symmetric()
    elif num_clusters == num_nodes and getattr(rule, "swaps", None) is None:
        rule = Trivial()
    else:
        rule = rule.with_clusters(num_clusters)
    return {f"model.{key}": rule.as_config()}


def group_of(config: Config, graph: tuple[Any, tuple[int, int] | None]) -> NodeGroup:
    """The group of the net that a trial ends with: that of ``project_onto`` where there is one, else of ``symmetry``."""
    model = config["model"]
    return as_symmetry(model.get("project_onto") or model["symmetry"])(*graph)


def make_variants(
    argv: list[str],
    resolve: Resolve,
    graph: tuple[Any, tuple[int, int] | None],
    *,
    clusters: Sequence[int] = (),
    named: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Variant, ...]:
    """The variants of a study, their configs resolved (and so checked) before anything is trained.

    ``clusters`` wins over ``named``; with neither, the config as it stands is the only one. ``graph`` is the data module's
    graph and grid shape. Baselines, by name with overrides of their own, come last.

    Raises:
        ConfigError: a variant that is no set of overrides.
    """
    from gnet.training.arguments import as_arguments  # brings lightning, which only a study about to train needs

    base = without_study(resolve(argv))
    num_nodes = int(graph[0].num_nodes)
    wanted: dict[str, dict[str, Any]] = {}
    if clusters:
        wanted = {f"clusters={number}": cluster_overrides(base, number, num_nodes) for number in dict.fromkeys(clusters)}
    elif named:
        wanted = {str(name): checked_overrides("variants", str(name), overrides) for name, overrides in named.items()}

    def resolved(overrides: Mapping[str, Any]) -> Config:
        return without_study(resolve([*argv, *as_arguments(overrides)])) if overrides else base

    variants = []
    for name, overrides in (wanted or {"config": {}}).items():
        config = resolved(overrides)
        group = group_of(config, graph)
        of_group = clusters or not wanted
        variants.append(Variant(_label(config, group) if of_group else name, "symmetry", config, overrides, group))
    others = (Variant(name, "baseline", resolved(each), dict(each), None) for name, each in (baselines or {}).items())
    return (*variants, *others)


def _label(config: Config, group: NodeGroup) -> str:
    """What a variant is called that nobody named."""
    return "automatic" if isinstance(as_symmetry(config["model"]["symmetry"]), Automatic) else group_label(group)


def chosen_variants(named: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the config's variants that were asked for, in the config's order; all of them if none was.

    Raises:
        ConfigError: a name that the config has not.

    Example:
        >>> chosen_variants({"S64": {}, "trivial": {}}, ["trivial"])
        {'trivial': {}}
    """
    for name in names:
        if name not in named:
            known = f"The config has {', '.join(named)}" if named else "The config names none (study: {variants: ...})"
            raise ConfigError(f"no variant {name}{did_you_mean(name, named)} {known}")
    return {name: overrides for name, overrides in named.items() if not names or name in names}


def baseline_overrides(in_config: object) -> dict[str, dict[str, Any]]:
    """The overrides of the config's ``study.baselines`` by the baseline's name; none where it is a list, true or false.

    Raises:
        ConfigError: an unknown baseline, something that is no set of overrides, or a setting that the baseline does not read.

    Example:
        >>> baseline_overrides({"gcn": {"model.num_layers": 3}, "ridge": None}), baseline_overrides(["ridge"])
        ({'gcn': {'model.num_layers': 3}, 'ridge': {}}, {})
    """
    if not isinstance(in_config, Mapping):
        return {}
    for name in in_config:
        _refuse_unknown_baseline(str(name))
    found = {str(name): checked_overrides("baselines", str(name), each) for name, each in in_config.items()}
    for name, overrides in found.items():
        for key in overrides:
            if key.startswith("model.") and not _reads(name, key.split(".")[1]):
                raise ConfigError(f"study.baselines: {name} does not read {key}; leave it out")
    return found


def _reads(baseline: str, setting: str) -> bool:
    """Whether a baseline reads a setting of the model: nets all but those of other nets, closed forms the loss alone."""
    if baseline in NET_BASELINES:
        return setting == "act" or setting not in (*LAYERED, *GRAPHS, *RECURRENT, "symmetry", "project_onto")
    return setting in ("loss", "loss_units")


def _refuse_unknown_baseline(name: str) -> None:
    if name not in BASELINES:
        raise ConfigError(f"unknown baseline {name}{did_you_mean(name, BASELINES)} Expected some of {', '.join(BASELINES)}")


def choose_baselines(names: Collection[str] | None, datamodule: object) -> tuple[str, ...]:
    """The baselines called ``names``; with None those of the task: the last value for a forecast, else the mean.

    A data module with a method ``historical_average(split)`` has that baseline too. Where the targets are classes there are the
    nets and the mean, the frequencies of the classes. ``cnn`` is trained where it is asked for.

    Raises:
        ConfigError: an unknown name, ``last_value`` where nothing is forecast, ``historical_average`` without history, ``cnn``
            where nodes are no pixels, or a baseline of numbers where the targets are classes.

    Example:
        >>> choose_baselines(None, object()), choose_baselines(["ridge"], object())
        (('gcn', 'mlp_per_node', 'ridge', 'mean'), ('ridge',))
    """
    forecast, history = is_forecast(datamodule), hasattr(datamodule, "historical_average")
    of_numbers = set() if getattr(datamodule, "classes", None) is None else {"ridge", "last_value", "historical_average"}
    if names is None:
        left_out = {"cnn", "mean" if forecast else "last_value"} | (set() if history else {"historical_average"}) | of_numbers
        return tuple(name for name in BASELINES if name not in left_out)
    for name in names:
        _refuse_unknown_baseline(name)
    if wrong := [name for name in names if name in of_numbers]:
        raise ConfigError(f"the baseline {wrong[0]} predicts numbers, the targets are classes; take gcn, mlp_per_node or mean")
    if "last_value" in names and not forecast:
        raise ConfigError("the baseline last_value repeats the last step before a forecast, and this is none; take mean")
    if "cnn" in names:
        check_image(getattr(datamodule, "grid_shape", None))
    if "historical_average" in names and not history:
        raise ConfigError("the baseline historical_average is the mean at the same time of the week, which this data has not")
    return tuple(names)


def check_image(grid_shape: tuple[int, int] | None) -> tuple[int, int]:
    """The shape of the image whose pixels the nodes are.

    Raises:
        ConfigError: they are none.
    """
    if grid_shape is None:
        raise ConfigError("the baseline cnn convolves images, and these nodes are no grid of pixels; take gcn")
    return grid_shape


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error's first sentence: the nearest of the known words, if any is near.

    Example:
        >>> did_you_mean("rigde", BASELINES), did_you_mean("lasso", BASELINES)
        ('; did you mean ridge?', '.')
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else "."


def without_study(config: Config) -> Config:
    """The part of a config that a trial needs."""
    return {key: value for key, value in config.items() if key != "study"}


def largest_group(variants: Sequence[Variant]) -> str:
    """Name of the variant with the largest group; the first of equals."""
    return max((variant for variant in variants if variant.group is not None), key=lambda variant: variant.log_order).name


def checked_overrides(where: Literal["variants", "baselines"], name: str, overrides: object) -> dict[str, Any]:
    """The overrides of one variant or baseline, of which there may be none.

    Raises:
        ConfigError: something that is no set of overrides, or seeds and draws among them.
    """
    if overrides is None:
        return {}
    if not isinstance(overrides, Mapping):
        like = {"variants": "model.symmetry: Symmetric", "baselines": "model.num_layers: 2"}[where]
        raise ConfigError(f"study.{where}: expected overrides like {{{like}}} for {name}, got {overrides!r}")
    for key in overrides:
        refuse_seeds(str(key))
    return {str(key): value for key, value in overrides.items()}
