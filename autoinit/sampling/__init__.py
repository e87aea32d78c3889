"""Counter-based random values: element i of a parameter is `transform(bits(key, i))`.

Nothing here is sequential: any range of any parameter can be drawn alone, by any thread, rank or device.
`docs/sampling.md` is the definition; `VERSION` names it.
"""

from .draws import Kernel as Kernel
from .keys import VERSION as VERSION
from .keys import Key as Key
from .keys import check_seed as check_seed
from .keys import derive_key as derive_key
from .keys import fresh_seed as fresh_seed
from .regions import Region as Region
from .regions import Run as Run
from .sampler import Sampler as Sampler
from .sampler import kernel_on as kernel_on
from .transforms import NormalTransform as NormalTransform
from .transforms import TailTransform as TailTransform
from .transforms import Transform as Transform
from .transforms import UniformTransform as UniformTransform
from .transforms import truncated_normal as truncated_normal
