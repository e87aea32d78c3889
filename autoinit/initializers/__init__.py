"""The schemes by name: each a frozen dataclass that resolves one tensor's description to a fill."""

from .basic import Constant, Keep, Normal, TruncNormal, Uniform
from .callables import Function, ModuleFunction, Scheme
from .defaults import Default
from .expression import Expression
from .given_numbers import number
from .initializer import Initializer
from .matrices import DeltaOrthogonal, Dirac, Eye, Orthogonal, Sparse
from .pretrained import Pretrained
from .registry import canonical_name, register_initializer, registered
from .resolving import Resolved, resolve
from .scaled import Scaled
from .variance import Caffe2Xavier, Kaiming, LeCun, VarianceScaling, Xavier

__all__ = [
    "Caffe2Xavier",
    "Constant",
    "Default",
    "DeltaOrthogonal",
    "Dirac",
    "Expression",
    "Eye",
    "Function",
    "Initializer",
    "Kaiming",
    "Keep",
    "LeCun",
    "ModuleFunction",
    "Normal",
    "Orthogonal",
    "Pretrained",
    "Resolved",
    "Scaled",
    "Scheme",
    "Sparse",
    "TruncNormal",
    "Uniform",
    "VarianceScaling",
    "Xavier",
    "canonical_name",
    "number",
    "register_initializer",
    "registered",
    "resolve",
]
