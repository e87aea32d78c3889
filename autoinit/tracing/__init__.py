"""The calls that filled each parameter of a model, read from the construction record."""

from .calls import Call as Call
from .traces import Trace as Trace
from .traces import TracedParameter as TracedParameter
