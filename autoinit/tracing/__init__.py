"""The calls that filled each parameter of a model, read from the construction record."""

from .difference import Change as Change
from .difference import Difference as Difference
from .difference import diff as diff
from .trace_block import TraceBlock as TraceBlock
from .trace_block import trace as trace
from .traces import Call as Call
from .traces import Trace as Trace
from .traces import TracedParameter as TracedParameter
