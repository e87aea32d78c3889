"""A plan carried out in place: each parameter written once, in order of precedence."""

from .execution import Targets as Targets
from .execution import apply_plan as apply_plan
from .execution import bind_targets as bind_targets
from .execution import execute as execute
from .initialization import initialize as initialize
from .initialization import make_plan as make_plan
from .initialization import plan as plan
from .log import log_report as log_report
