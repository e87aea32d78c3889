"""Any interleaving of what happens in blocks ends as the model of `interceptor_machine` says (I1-I5, D1-D3)."""

from __future__ import annotations

import pytest
from hypothesis import settings

from .interceptor_machine import Interceptor

TestInterceptor = Interceptor.TestCase
TestInterceptor.settings = settings(settings.default, max_examples=200, stateful_step_count=25)
TestInterceptor.pytestmark = [pytest.mark.compiles, pytest.mark.slow]
