"""The values of one tensor: a distribution in closed form, or a function of the whole tensor."""

from .distributions import ComplexNormal as ComplexNormal
from .distributions import Constant as Constant
from .distributions import Normal as Normal
from .distributions import TruncNormal as TruncNormal
from .distributions import Uniform as Uniform
from .distributions import Vector as Vector
from .fill import Elementwise as Elementwise
from .fill import Fill as Fill
from .fill import TensorSpec as TensorSpec
from .mixtures import Blocks as Blocks
from .mixtures import Padded as Padded
from .mixtures import calls_function as calls_function
from .whole import Custom as Custom
from .whole import DeltaOrthogonal as DeltaOrthogonal
from .whole import Dirac as Dirac
from .whole import Eye as Eye
from .whole import Orthogonal as Orthogonal
from .whole import Sparse as Sparse
from .whole import middle as middle
from .whole import seeded as seeded
