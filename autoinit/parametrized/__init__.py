"""Parametrized weights (weight norm, spectral norm, pruning, ...): finding and setting them."""

from .effective import Effective as Effective
from .finding import effective_weights as effective_weights
