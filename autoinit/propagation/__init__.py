"""How a signal runs through a model, forward and backward: where it vanishes, explodes or dies."""

from .bounds import Bounds as Bounds
from .portrait import Propagation as Propagation
from .propagating import propagate as propagate
from .signals import Flag as Flag
from .signals import Signal as Signal
