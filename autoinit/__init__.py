"""Declarative weight initialization for any PyTorch model, without inheritance."""

from . import html as html  # gives results `to_html`
from .applying import initialize as initialize
from .applying import plan as plan
from .checkpoints import register_checkpoints as register_checkpoints
from .config import bias_init_with_prob as bias_init_with_prob
from .errors import ApplyError as ApplyError
from .errors import AutoInitError as AutoInitError
from .errors import AutoInitWarning as AutoInitWarning
from .errors import CheckpointError as CheckpointError
from .errors import ConfigError as ConfigError
from .errors import ConfigTypeError as ConfigTypeError
from .errors import CoverageError as CoverageError
from .errors import InputError as InputError
from .errors import MatchError as MatchError
from .errors import ModuleGraphError as ModuleGraphError
from .errors import ParametrizationError as ParametrizationError
from .errors import PropagationError as PropagationError
from .errors import ShapeError as ShapeError
from .errors import StateError as StateError
from .errors import TargetError as TargetError
from .errors import VerificationError as VerificationError
from .fans import register_fan as register_fan
from .functional import caffe2_xavier_init as caffe2_xavier_init
from .functional import constant_init as constant_init
from .functional import kaiming_init as kaiming_init
from .functional import normal_init as normal_init
from .functional import trunc_normal_init as trunc_normal_init
from .functional import uniform_init as uniform_init
from .functional import xavier_init as xavier_init
from .initializers import register_initializer as register_initializer
from .interception import Run as Run
from .interception import autoinit as autoinit
from .interception import paused as paused
from .planning import Plan as Plan
from .planning import Report as Report
from .propagation import Bounds as Bounds
from .propagation import Propagation as Propagation
from .propagation import propagate as propagate
from .rules import Rule as Rule
from .tracing import Trace as Trace
from .tracing import trace as trace
from .verification import Verdict as Verdict
from .verification import verify as verify

__all__ = [
    "ApplyError",
    "AutoInitError",
    "AutoInitWarning",
    "Bounds",
    "CheckpointError",
    "ConfigError",
    "ConfigTypeError",
    "CoverageError",
    "InputError",
    "MatchError",
    "ModuleGraphError",
    "ParametrizationError",
    "Plan",
    "Propagation",
    "PropagationError",
    "Report",
    "Rule",
    "Run",
    "ShapeError",
    "StateError",
    "TargetError",
    "Verdict",
    "VerificationError",
    "autoinit",
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "constant_init",
    "initialize",
    "kaiming_init",
    "normal_init",
    "paused",
    "plan",
    "propagate",
    "register_checkpoints",
    "register_fan",
    "register_initializer",
    "trunc_normal_init",
    "uniform_init",
    "verify",
    "xavier_init",
]

__version__ = "0.1.0"
