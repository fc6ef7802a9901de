"""Worker processes that compute tasks side by side, die with their parent, and may die without taking it along."""

import ctypes
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import threadpoolctl  # type: ignore[import-untyped]

Task = TypeVar("Task")
Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PRELOAD = ["gnet.study.run", "gnet.study.baselines", "threadpoolctl"]
# Windows cannot fork: there every worker imports torch for itself.
METHOD: Literal["forkserver", "spawn"] = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def warm_up(threads: int = 1) -> None:
    """Start the process that workers are forked from, and let it import torch and lightning while others do something else.

    Workers come from a fork server: a process that has imported everything and computed nothing, so that a fork is safe (no
    thread pools, no locks) and takes no time. A second call does nothing.
    """
    if METHOD == "spawn":
        return
    context = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload(PRELOAD)
    with _environment(threads):
        multiprocessing.forkserver.ensure_running()


@dataclass(frozen=True)
class Failure:
    """Why a task has no result: one line, and the whole story."""

    message: str
    details: str


@dataclass
class _Worker(Generic[Task]):
    process: BaseProcess
    pipe: Connection
    task: Task


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int, threads: int = 1, log: Path | None = None
) -> Iterator[tuple[Task, Result | Failure]]:
    """Compute ``function(task)`` for every task, at most ``jobs`` at a time, and yield each result as it ends.

    Each worker is a process of its own with ``threads`` threads (see ``warm_up``); an exception in a task is a ``Failure``,
    and so is a worker that dies, which is replaced. ``jobs=0`` computes in this very process, in order: for debuggers and
    small tasks. What workers print goes to ``log``. Leaving the loop early ends the workers.

    Example:
        >>> [result for _, result in run_tasks(abs, [-1, -2], jobs=0)]
        [1, 2]
        >>> [(_, failure)] = run_tasks(len, [3], jobs=0)
        >>> failure.message
        "TypeError: object of type 'int' has no len()"
    """
    if jobs == 0:
        yield from ((task, attempt(function, task)) for task in tasks)
        return
    waiting = list(reversed(tasks))
    workers: list[_Worker[Task]] = []
    try:
        while waiting and len(workers) < jobs:
            workers.append(_start(function, waiting.pop(), threads, log))
        while workers:
            ready = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                task, result = worker.task, _receive(worker)
                workers.remove(worker)
                if waiting and worker.process.is_alive():
                    worker.task = waiting.pop()
                    _send(worker, function)
                    workers.append(worker)
                elif waiting:
                    workers.append(_start(function, waiting.pop(), threads, log))
                else:
                    _send(worker, None)
                yield task, result
    finally:
        for worker in workers:
            worker.process.kill()


def attempt(function: Callable[[Task], Result], task: Task) -> Result | Failure:
    """The result, or the exception as a ``Failure``.

    Example:
        >>> attempt(abs, -1)
        1
    """
    try:
        return function(task)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())


def _start(function: Callable[[Task], Any], task: Task, threads: int, log: Path | None) -> _Worker[Task]:
    warm_up(threads)
    context = multiprocessing.get_context(METHOD)
    ours, theirs = context.Pipe()
    # A daemon: it is ended when this process exits in good order. _follow_parent ends it when this process is killed.
    process = context.Process(target=_serve, args=(theirs, threads, log), daemon=True)  # type: ignore[attr-defined]
    with _environment(threads):
        process.start()
    theirs.close()  # so that the pipe ends when the worker does
    worker = _Worker(process, ours, task)
    _send(worker, function)
    return worker


def _send(worker: _Worker[Task], function: Callable[[Task], Any] | None) -> None:
    try:
        worker.pipe.send(None if function is None else (function, worker.task))
    except OSError:
        # The worker died between two tasks; the task comes back as a failure when its pipe is read.
        worker.process.join(1)


def _receive(worker: _Worker[Any]) -> Any:
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(5)
        code = worker.process.exitcode
        meaning = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return Failure(f"the worker process died ({meaning}); out of memory?", "")


def _serve(pipe: Connection, threads: int, log: Path | None) -> None:
    """The life of a worker: tasks in, results out, until ``None`` comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_follow_parent, daemon=True).start()
    keep_memory()
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    threadpoolctl.threadpool_limits(threads)  # for what the server has loaded with another number
    if log is not None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, sys.stdout.fileno())
        os.dup2(descriptor, sys.stderr.fileno())
    try:
        while (message := pipe.recv()) is not None:
            function, task = message
            pipe.send(attempt(function, task))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The variables that torch reads when it is imported."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the system's C library can be told so (glibc).

    A training step frees its gradients and makes them anew. Of large nets the library returns them to the system each time, and
    the system clears every page again: up to a third of the step.
    """
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        library = ctypes.CDLL(None)
        library.mallopt(mmap_threshold, 2**30)
        library.mallopt(trim_threshold, 2**31 - 1)
    except (AttributeError, OSError):
        return
