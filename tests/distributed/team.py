"""Real processes that run functions side by side, joined by gloo through a file, so that no port is taken."""

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PATIENCE = 240  # seconds for one function: only to end a test that hangs
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Failed(Exception):
    """A function failed in some process; the text says in which and how."""


class Team:
    """``size`` processes in one process group.

    A function that is run is called in every process, at the same time, with (rank, *arguments); functions and results travel by
    pickle, so functions stand in a module.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.folder = tempfile.TemporaryDirectory()
        context = multiprocessing.get_context(METHOD)
        if METHOD == "forkserver":
            context.set_forkserver_preload(["torch", "lightning.pytorch", "gnet.training.module", "gnet.distributed"])
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, size, str(Path(self.folder.name) / "meet")), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What the function returns in each process."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        answers = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(PATIENCE):
                raise Failed(f"process {rank} did not answer")
            answers.append(pipe.recv())
        errors = [f"process {rank}: {error}" for rank, (_, error) in enumerate(answers) if error]
        if errors:
            raise Failed("\n".join(errors))
        return [value for value, _ in answers]

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()


def _serve(pipe: Connection, rank: int, size: int, meet: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=size, timeout=timedelta(seconds=PATIENCE))
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(rank, *arguments), None
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        pipe.send(answer)
