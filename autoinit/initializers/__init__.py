"""The schemes by name: each a frozen dataclass that resolves one tensor's description to a fill."""

from .basic import Constant as Constant
from .basic import Keep as Keep
from .basic import Normal as Normal
from .basic import TruncNormal as TruncNormal
from .basic import Uniform as Uniform
from .callables import Function as Function
from .callables import ModuleFunction as ModuleFunction
from .callables import Scheme as Scheme
from .defaults import Default as Default
from .expression import Expression as Expression
from .given_numbers import number as number
from .initializer import Initializer as Initializer
from .matrices import DeltaOrthogonal as DeltaOrthogonal
from .matrices import Dirac as Dirac
from .matrices import Eye as Eye
from .matrices import Orthogonal as Orthogonal
from .matrices import Sparse as Sparse
from .pretrained import Pretrained as Pretrained
from .registry import canonical_name as canonical_name
from .registry import register_initializer as register_initializer
from .registry import registered as registered
from .resolving import Resolved as Resolved
from .resolving import resolve as resolve
from .scaled import Scaled as Scaled
from .variance import Caffe2Xavier as Caffe2Xavier
from .variance import Kaiming as Kaiming
from .variance import LeCun as LeCun
from .variance import VarianceScaling as VarianceScaling
from .variance import Xavier as Xavier

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
