"""Any interleaving of what happens in blocks ends as the model of `interceptor_machine` says (I1-I5, D1-D3)."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.unit.interception.interceptor_machine import Compiler, Interceptor

# Rules that are about nothing but what was loaded are part of the play.
UNMOVED = pytest.mark.filterwarnings("ignore::autoinit.AutoInitWarning")

TestInterceptor = Interceptor.TestCase
TestInterceptor.settings = settings(
    settings.default, max_examples=3 * settings.default.max_examples, stateful_step_count=25
)
TestInterceptor.pytestmark = [UNMOVED]

TestCompiler = Compiler.TestCase
TestCompiler.settings = settings(settings.default, stateful_step_count=25)
TestCompiler.pytestmark = [UNMOVED, pytest.mark.compiles, pytest.mark.slow]
