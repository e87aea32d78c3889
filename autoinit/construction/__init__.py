"""The construction record: what was written to every storage that a block saw made, and where it came from."""

from .content import AUTOINIT as AUTOINIT
from .content import Content as Content
from .content import Place as Place
from .memory import Region as Region
from .operators import Call as Call
from .operators import operator_of as operator_of
from .operators import tensors_in as tensors_in
from .postponed import ACCELERATORS as ACCELERATORS
from .postponed import Postponed as Postponed
from .record import ConstructionRecord as ConstructionRecord
from .record import Listener as Listener
from .record import has_memory as has_memory
from .record import listeners as listeners
from .record import plain as plain
from .watch import Watch as Watch
from .watch import current_watch as current_watch
from .watch import current_watches as current_watches
