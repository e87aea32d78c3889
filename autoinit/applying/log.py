"""The logger `autoinit`: one INFO line a model, one DEBUG line a parameter; silent unless logging is configured."""

from __future__ import annotations

import logging

from ..planning import Report

logger = logging.getLogger("autoinit")
logger.addHandler(logging.NullHandler())


def log_report(report: Report) -> None:
    """Say what was done to a model."""
    if not report:
        return
    logger.info("%s: %s", report.model, report.caption)
    if logger.isEnabledFor(logging.DEBUG):
        for entry in report.values():
            logger.debug("%s - %s: %s [%s] %s", entry.fqn, entry.shape, entry.outcome, entry.origin, entry.gets)
