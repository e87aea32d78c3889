"""The `bias_prob` shorthand: a bias from the probability that it stands for."""

from __future__ import annotations

import math

from ..errors import ConfigError, ConfigTypeError


def bias_init_with_prob(prior_prob: float) -> float:
    """The bias at which a sigmoid outputs `prior_prob`: `-log((1 - p) / p)`.

    Args:
        prior_prob: a float strictly between 0 and 1.

    Raises:
        ConfigTypeError: not a float.
        ConfigError: not strictly between 0 and 1.

    Source: Lin et al. 2017, "Focal loss for dense object detection", section 4.1.

    Example:
        >>> round(bias_init_with_prob(0.01), 5)
        -4.59512
    """
    if not isinstance(prior_prob, float):
        raise ConfigTypeError(f"bias_prob={prior_prob!r} must be a float, not {type(prior_prob).__name__}.")
    if not 0 < prior_prob < 1:
        raise ConfigError(f"bias_prob={prior_prob!r} must lie strictly between 0 and 1.")
    return -math.log((1 - prior_prob) / prior_prob)
