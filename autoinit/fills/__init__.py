"""What one tensor gets: a distribution in closed form, or a function of the whole tensor."""

from .base import Elementwise as Elementwise
from .base import Fill as Fill
from .base import TensorSpec as TensorSpec
from .blocks import Blocks as Blocks
from .complex_normal import ComplexNormal as ComplexNormal
from .elementwise import Constant as Constant
from .elementwise import Normal as Normal
from .elementwise import TruncNormal as TruncNormal
from .elementwise import Uniform as Uniform
from .padded import Padded as Padded
from .whole import Custom as Custom
from .whole import Dirac as Dirac
from .whole import Eye as Eye
from .whole import Orthogonal as Orthogonal
from .whole import Sparse as Sparse
from .whole import seeded as seeded
