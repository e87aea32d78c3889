"""The schemes by name: each a frozen dataclass that resolves one tensor's description to a fill."""

from .base import Initializer as Initializer
from .basic import Constant as Constant
from .basic import Normal as Normal
from .basic import TruncNormal as TruncNormal
from .basic import Uniform as Uniform
from .function import Function as Function
from .keep import Keep as Keep
from .opaque import ModuleFunction as ModuleFunction
from .opaque import Scheme as Scheme
from .pretrained import Pretrained as Pretrained
from .registry import canonical_name as canonical_name
from .registry import register_initializer as register_initializer
from .registry import registered as registered
from .resolving import Resolved as Resolved
from .resolving import resolve as resolve
from .structured import Dirac as Dirac
from .structured import Eye as Eye
from .structured import Orthogonal as Orthogonal
from .structured import Sparse as Sparse
from .variance import Caffe2Xavier as Caffe2Xavier
from .variance import Kaiming as Kaiming
from .variance import LeCun as LeCun
from .variance import VarianceScaling as VarianceScaling
from .variance import Xavier as Xavier
