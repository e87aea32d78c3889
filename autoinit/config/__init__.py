"""What users write, to rules: the only place that knows the keys of a config."""

from .parsing import Config as Config
from .parsing import parse_config as parse_config
from .values import bias_init_with_prob as bias_init_with_prob
