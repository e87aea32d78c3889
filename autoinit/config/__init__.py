"""What users write, to rules: the only place that knows the keys of a config."""

from .bias_prob import bias_init_with_prob as bias_init_with_prob
from .files import read_config as read_config
from .parsing import Config as Config
from .parsing import parse_config as parse_config
from .schemes import RULE_KEYS as RULE_KEYS
from .schemes import find_initializer as find_initializer
