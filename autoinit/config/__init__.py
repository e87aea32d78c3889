"""Configs to rules: the only place that knows the keys of a config."""

from .parsing import Config as Config
from .parsing import bias_init_with_prob as bias_init_with_prob
from .parsing import parse_config as parse_config
from .schemes import find_initializer as find_initializer
