"""Modules with an `init_cfg`, which `init_weights` applies."""

from __future__ import annotations

import copy
import logging
import sys
from abc import ABCMeta
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import distributed as dist
from torch import nn

from ...applying import apply_plan, being_initialized, decide, targets_of
from ...errors import warn
from ...interception import remember
from ...planning import FILLED, PlanContext, Policy, Report, ReportEntry

TITLE = "Name of parameter - Initialization information\n"

InitCfg = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class BaseModule(nn.Module, metaclass=ABCMeta):
    """A module with a config for itself and everything below it.

    Args:
        init_cfg: a dict or a list of dicts; a copy is kept as an attribute.

    Example:
        >>> class Net(BaseModule):
        ...     def __init__(self, init_cfg=None):
        ...         super().__init__(init_cfg)
        ...         self.head = Sequential(
        ...             nn.Linear(1, 1), init_cfg=dict(type="Constant", val=2, layer="Linear")
        ...         )
        >>> net = Net(init_cfg=dict(type="Constant", val=1, layer="Linear"))
        >>> net.init_weights()
        >>> net.head[0].weight.item()
        2.0
    """

    def __init__(self, init_cfg: InitCfg = None) -> None:
        super().__init__()
        self._carry(init_cfg)

    def _carry(self, init_cfg: InitCfg) -> None:
        self._is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether `init_weights` has run, or is not needed: a parent does not call it then."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        self._is_init = value

    def init_weights(self) -> None:
        """Apply the `init_cfg` of this module and of those below it, and call their own `init_weights`.

        From low to high: this module's rules and their overrides, a child's rules, a child's own `init_weights`,
        a child's checkpoint, this module's checkpoint. A second call only warns. The report is written to mmengine's
        current logger, if the program has one.

        Raises:
            ConfigError, MatchError, ShapeError, CheckpointError: nothing was changed.
            ApplyError: the `init_weights` of a module below failed.
        """
        if self._is_init:
            warn(f"init_weights of {type(self).__name__} has been called more than once.")
            return
        plan, planner = decide(self, [], Policy(), PlanContext(running=being_initialized.get() | {id(self)}))
        targets = targets_of(planner, plan)
        report = apply_plan(plan, self, targets=targets)
        remember(plan, report, targets.params)
        if not being_initialized.get():  # The record of the outermost module has the others.
            _log_record(report)

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text}\ninit_cfg={self.init_cfg}" if self.init_cfg else text


class Sequential(BaseModule, nn.Sequential):
    """`torch.nn.Sequential` with an `init_cfg`."""

    def __init__(self, *modules: Any, init_cfg: InitCfg = None) -> None:
        nn.Sequential.__init__(self, *modules)
        self._carry(init_cfg)


class ModuleList(BaseModule, nn.ModuleList):
    """`torch.nn.ModuleList` with an `init_cfg`."""

    def __init__(self, modules: Iterable[nn.Module] | None = None, init_cfg: InitCfg = None) -> None:
        nn.ModuleList.__init__(self, modules)
        self._carry(init_cfg)


class ModuleDict(BaseModule, nn.ModuleDict):
    """`torch.nn.ModuleDict` with an `init_cfg`."""

    def __init__(
        self, modules: Mapping[str, nn.Module] | Iterable[tuple[str, nn.Module]] | None = None, init_cfg: InitCfg = None
    ) -> None:
        nn.ModuleDict.__init__(self, modules)  # type: ignore[arg-type]
        self._carry(init_cfg)


def _log_record(report: Report) -> None:
    """Write what each parameter got to the current `MMLogger`, if the program has one.

    As mmengine does: to the files of the logger, or as INFO messages if it has no file; on the first rank alone.
    """
    logger = _current_logger()
    if logger is None or (dist.is_available() and dist.is_initialized() and dist.get_rank()):
        return
    texts = [_line(entry) for entry in report.values()]
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


def _line(entry: ReportEntry) -> str:
    shape = "lazy" if entry.shape is None else f"torch.Size({list(entry.shape)})"
    text = f"{entry.gets} ({entry.origin})" if entry.outcome == FILLED else entry.outcome
    return f"\n{entry.fqn} - {shape}: \n{text} \n"
