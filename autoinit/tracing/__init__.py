"""The calls that filled each parameter of a model, read from the construction record."""

from .block_of_trace import TraceBlock as TraceBlock
from .block_of_trace import trace as trace
from .calls import Call as Call
from .difference import Change as Change
from .difference import Difference as Difference
from .difference import diff as diff
from .traces import Trace as Trace
from .traces import TracedParameter as TracedParameter
