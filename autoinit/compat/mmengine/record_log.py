"""The report of `init_weights` in the log of a run of mmengine, where its own `BaseModule` writes it."""

from __future__ import annotations

import logging
import sys

from torch import distributed as dist

from ...planning import FILLED, Report, ReportEntry

TITLE = "Name of parameter - Initialization information\n"


def log_record(report: Report) -> None:
    """Write what each parameter got to the current `MMLogger`, if the program has one.

    As mmengine does: to the files of the logger, or as INFO messages if it has no file; on the first rank alone.
    """
    logger = _current_logger()
    if logger is None or (dist.is_available() and dist.is_initialized() and dist.get_rank()):
        return
    texts = [f"\n{entry.fqn} - {_shape(entry)}: \n{_text(entry)} \n" for entry in report.values()]
    has_file = False
    for handler in logger.handlers:
        # A file that is opened with its first message has no stream yet.
        if isinstance(handler, logging.FileHandler) and (stream := handler.stream) is not None:
            has_file = True
            handler.acquire()
            try:
                stream.write(TITLE + "".join(texts))
                stream.flush()
            finally:
                handler.release()
    for text in texts if not has_file else ():
        logger.info(text)


def _current_logger() -> logging.Logger | None:
    """mmengine's logger that was created last; asking mmengine itself would create one."""
    cls = getattr(sys.modules.get("mmengine.logging"), "MMLogger", None)
    if cls is None or not getattr(cls, "_instance_dict", None):
        return None
    found: logging.Logger = cls.get_current_instance()
    return found


def _shape(entry: ReportEntry) -> str:
    return "lazy" if entry.shape is None else f"torch.Size({list(entry.shape)})"


def _text(entry: ReportEntry) -> str:
    return f"{entry.gets} ({entry.origin})" if entry.outcome == FILLED else entry.outcome
