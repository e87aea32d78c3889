"""The signal through a model, forward and backward: where it vanishes, explodes or dies."""

from .propagating import propagate as propagate
from .results import Propagation as Propagation
from .signals import Bounds as Bounds
from .signals import Flag as Flag
from .signals import Signal as Signal
