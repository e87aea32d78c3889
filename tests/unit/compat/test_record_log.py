"""The record of `init_weights` in mmengine's logger, in the form of the original."""

from __future__ import annotations

import logging
import pathlib
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import mmengine.model
import pytest
from mmengine.logging import MMLogger
from torch import distributed as dist
from torch import nn

from autoinit.compat import mmengine as compat
from tests.processes import Interpreter


def net(library: Any) -> Any:
    class Head(library.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 3)

        def init_weights(self) -> None:
            super().init_weights()
            nn.init.constant_(self.fc.bias, 3)

    class Net(library.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Constant", val=1, layer="Conv2d"))
            self.conv = nn.Conv2d(1, 2, 1)
            self.norm = nn.BatchNorm2d(2)
            self.head = Head()

    return Net()


@pytest.fixture(autouse=True)
def no_loggers() -> Iterator[None]:
    with mock.patch.dict(MMLogger._instance_dict, clear=True):
        yield


def logged(library: Any, path: pathlib.Path) -> str:
    MMLogger._instance_dict.clear()
    logger = MMLogger.get_instance(f"{library.__name__}{path}", log_file=str(path), log_level="INFO")
    net(library).init_weights()
    for handler in logger.handlers:
        handler.close()
    return path.read_text()


def test_files_get_a_record_in_the_form_of_the_original(tmp_path: pathlib.Path) -> None:
    ours, theirs = (logged(lib, tmp_path / lib.__name__) for lib in (compat, mmengine.model))
    parameter = re.compile(r"^\S+ - torch\.Size\(.*\): $", re.MULTILINE)
    assert parameter.findall(ours) == parameter.findall(theirs) and ours.count("\n") == theirs.count("\n")
    assert ours.startswith(
        "Name of parameter - Initialization information\n\nconv.weight - torch.Size([2, 1, 1, 1]): \n"
    )
    assert "\nConstant(value=1) (Net.init_cfg) \n" in ours
    assert "head.fc.bias - torch.Size([3]): \nown init_weights \n" in ours
    assert "norm.weight - torch.Size([2]): \nkept \n" in ours


def test_without_a_file_it_is_messages() -> None:
    logger = MMLogger.get_instance("test_without_a_file", log_level="INFO")
    with mock.patch.object(logger, "info") as info:
        net(compat).init_weights()
    assert [call.args[0].split(" - ")[0].strip() for call in info.call_args_list] == [
        *("conv.weight", "conv.bias", "norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias")
    ]


def test_a_file_that_is_not_open_yet_gets_messages(tmp_path: pathlib.Path) -> None:
    logger = MMLogger.get_instance("test_a_late_file", log_level="INFO")
    logger.handlers = [logging.FileHandler(tmp_path / "late.log", delay=True)]
    net(compat).init_weights()
    logger.handlers[0].close()
    assert "conv.weight - torch.Size([2, 1, 1, 1])" in (tmp_path / "late.log").read_text()


def test_other_ranks_and_programs_without_a_logger_write_nothing() -> None:
    net(compat).init_weights()
    assert not MMLogger._instance_dict
    logger = MMLogger.get_instance("test_other_ranks", log_level="INFO")
    with (
        mock.patch.object(logger, "info") as info,
        mock.patch.object(dist, "is_initialized", return_value=True),
        mock.patch.object(dist, "get_rank", return_value=1),
    ):
        net(compat).init_weights()
    assert not info.called


def test_mmengine_is_not_imported_for_it(interpreter: Interpreter) -> None:
    interpreter.check("""
        import sys
        from torch import nn
        from autoinit.compat.mmengine import Sequential

        Sequential(nn.Linear(1, 1)).init_weights()
        assert "mmengine" not in sys.modules
    """)
