"""Tasks on a Ray cluster: the same promises as worker processes of this machine, kept on many."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import threadpoolctl  # type: ignore[import-untyped]

from gnet.errors import ConfigError, MissingExtraError
from gnet.study.pool import Failure, Result, Task, attempt


def require_ray() -> Any:
    """Ray itself.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "--backend ray needs Ray: pip install --editable '.[ray]' (on every machine of the cluster); "
            "without --backend trials run in "
            "processes of this machine"
        ) from error
    return ray


def run_on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int, threads: int = 1, log: Path | None = None
) -> Iterator[tuple[Task, Result | Failure]]:
    """Compute ``function(task)`` for every task, at most ``jobs`` at a time, and yield each result as it ends.

    As ``run_tasks``: an exception in a task is a ``Failure``, and so is a worker that dies, which takes no other task along.
    RAY_ADDRESS names the cluster; without it Ray is started on this machine, and stopped at the end. Leaving the loop early
    cancels what runs. The machines of a cluster need gnet (and the repository, for its data) and the study's folder on a file
    system that all see. Ray's tasks, and not its backend for joblib, which gives results back only when all are there: of a study
    that is killed nothing would be kept.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no machine has as many cores as a task has threads.
    """
    ray = require_ray()
    ours = not ray.is_initialized()
    if ours:
        _start(ray, jobs * threads)
    waiting, here = list(reversed(tasks)), Path.cwd()
    running: dict[Any, Task] = {}
    try:
        cores = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if cores < threads:
            raise ConfigError(f"expected --threads of at most the {cores:g} cores of a machine of the Ray cluster, got {threads}")
        # A core for each thread: Ray sets OMP_NUM_THREADS by it. A trial that fails is tried again by the next start, not by Ray.
        remote = ray.remote(num_cpus=threads, max_retries=0)(_work)
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop()
                running[remote.remote(function, task, threads, here, log)] = task
            (ready,), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(ready), _result(ray, ready)
    finally:
        for reference in running:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def _start(ray: Any, cores: int) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address := os.environ.get("RAY_ADDRESS"):
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(address="local", num_cpus=cores, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot reach a Ray cluster (RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}): {error}") from error
    finally:
        if in_main and before is not None:  # Ray sets a handler of its own
            signal.signal(signal.SIGTERM, before)


def _work(function: Callable[[Any], Any], task: Any, threads: int, folder: Path, log: Path | None) -> Any:
    """One task, in a worker of Ray, in the folder that relative paths of the study mean."""
    with contextlib.ExitStack() as stack:
        if folder.is_dir():
            stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(threadpoolctl.threadpool_limits(threads))
        if log is not None:
            file = stack.enter_context(open(log, "a"))
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
        return attempt(function, task)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Failure(f"the worker process died ({type(error).__name__}); out of memory?", str(error))
