"""Real ranks, each a process of its own, that stay for all tests of a file; and one rank that is alone."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor.debug import _clear_fast_path_sharding_prop_cache, _clear_python_sharding_prop_cache
from torch.testing._internal.distributed.fake_pg import FakeStore

WORLD = 4
SECONDS = 120.0


def serve(number: int, world: int, store: str, connection: Connection) -> None:
    """Be one rank: run each task that arrives, and send back its result or its traceback."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=number, world_size=world, store=dist.FileStore(store, world))
    while (task := connection.recv()) is not None:
        check, arguments = task
        torch.manual_seed(number)
        try:
            # Pickled here: a connection of torch's would share the memory of tensors instead.
            connection.send((pickle.dumps(check(number, *arguments)), None))
        except Exception:
            connection.send((b"", traceback.format_exc()))
    dist.destroy_process_group()


class Ranks:
    """The processes, together.

    Args:
        folder: where they meet.
        world: how many there are.
    """

    def __init__(self, folder: Path, world: int = WORLD) -> None:
        context = mp.get_context("spawn")
        self.connections = []
        self.processes = []
        for number in range(world):
            here, there = context.Pipe()
            arguments = (number, world, str(folder / "store"), there)
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            self.connections.append(here)
            self.processes.append(process)

    def run(self, check: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function of a test file on each rank, with the rank's number before the arguments."""
        for connection in self.connections:
            connection.send((check, arguments))
        results, failures = [], {}
        for number, connection in enumerate(self.connections):
            if not connection.poll(SECONDS):
                raise TimeoutError(f"rank {number} does not answer")
            result, failure = connection.recv()
            if failure is None:
                results.append(pickle.loads(result))
            else:
                failures[number] = failure
        if failures:
            raise AssertionError("\n".join(f"rank {number}: {failure}" for number, failure in failures.items()))
        return results

    def stop(self) -> None:
        """End the processes."""
        for connection in self.connections:
            connection.send(None)
        for process in self.processes:
            process.join(SECONDS)


@contextmanager
def one_of(world: int, rank: int) -> Iterator[None]:
    """This process as one of many ranks, whose collectives do nothing."""
    # The caches of torch hold the coordinates of one rank.
    _clear_python_sharding_prop_cache()
    _clear_fast_path_sharding_prop_cache()
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()
