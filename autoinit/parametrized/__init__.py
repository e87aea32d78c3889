"""Weights that forward computes from stored tensors: how they are found, and how they are set."""

from .base import Effective as Effective
from .finding import effective_weights as effective_weights
