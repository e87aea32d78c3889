"""Strategies for `hypothesis`: module trees, configs, overrides, schemes, tensors and seeds."""

try:
    import hypothesis as hypothesis
except ImportError as error:
    raise ImportError('Strategies need hypothesis: pip install "torch-autoinit[strategies]".') from error

from .configs import configs as configs
from .configs import overrides as overrides
from .configs import schemes as schemes
from .descriptions import Branch as Branch
from .descriptions import Layer as Layer
from .descriptions import Stage as Stage
from .descriptions import Unit as Unit
from .seeds import seeds as seeds
from .tensors import TensorLayout as TensorLayout
from .tensors import tensor_specs as tensor_specs
from .tensors import tensors as tensors
from .trees import layers as layers
from .trees import module_trees as module_trees
