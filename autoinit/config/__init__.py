"""Configs to rules: the only place that knows the keys of a config."""

from .files import read_config as read_config
from .parsing import RULE_KEYS as RULE_KEYS
from .parsing import Config as Config
from .parsing import bias_init_with_prob as bias_init_with_prob
from .parsing import parse_config as parse_config
from .schemes import find_initializer as find_initializer
