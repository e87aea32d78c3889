"""Whether weights are what was asked for: tests with a stated rate of false alarms."""

from .verdicts import Checked as Checked
from .verdicts import Failure as Failure
from .verdicts import Verdict as Verdict
from .verifying import verify as verify
