"""The calls that filled each parameter of a model, read from the construction record."""

from .calls import Call as Call
from .calls import TracedParameter as TracedParameter
from .difference import Change as Change
from .difference import Difference as Difference
from .difference import diff as diff
from .trace_block import TraceBlock as TraceBlock
from .trace_block import trace as trace
from .traces import Trace as Trace
