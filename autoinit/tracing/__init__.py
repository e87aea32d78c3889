"""The calls that filled each parameter of a model, read from the construction record."""

from .block_of_trace import TraceBlock as TraceBlock
from .block_of_trace import trace as trace
from .calls import Call as Call
from .traces import Trace as Trace
from .traces import TracedParameter as TracedParameter
