"""A plan applied in place: each parameter is written once, in order of precedence."""

from .agreement import agreed_seed as agreed_seed
from .agreement import check_agreement as check_agreement
from .execution import Application as Application
from .execution import apply_plan as apply_plan
from .execution import write_copy as write_copy
from .initialization import check_module as check_module
from .initialization import decide as decide
from .initialization import initialize as initialize
from .initialization import make_plan as make_plan
from .initialization import plan as plan
from .module_code import being_initialized as being_initialized
from .module_code import put_back_on_error as put_back_on_error
from .sharding import is_sharded as is_sharded
from .targets import Targets as Targets
from .targets import bind_targets as bind_targets
from .targets import targets_of as targets_of
