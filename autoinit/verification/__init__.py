"""Tests of weights against what was asked for, with a stated false-alarm rate."""

from .failures import Cause as Cause
from .failures import Failure as Failure
from .verdict import Checked as Checked
from .verdict import Verdict as Verdict
from .verifying import verify as verify
