"""Run a function on two gloo ranks, each a process of its own that ends with it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _run(rank: int, folder: str, work: Callable[[int], Any]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    torch.save(work(rank), f"{folder}/{rank}")
    dist.barrier()
    dist.destroy_process_group()


def on_two_ranks(work: Callable[[int], Any], timeout: float = 60) -> list[Any]:
    """Return what `work(rank)` returned on each rank; fail if a rank raises or takes more than `timeout` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        context = mp.get_context("spawn")
        processes = [context.Process(target=_run, args=(rank, folder, work), daemon=True) for rank in range(2)]
        for process in processes:
            process.start()
        deadline = time.monotonic() + timeout
        for process in processes:
            process.join(max(0, deadline - time.monotonic()))
        hangs = any(process.is_alive() for process in processes)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        assert not hangs, f"a rank did not end within {timeout} s"
        assert all(process.exitcode == 0 for process in processes), "a rank failed; its traceback is above"
        return [torch.load(f"{folder}/{rank}") for rank in range(2)]
