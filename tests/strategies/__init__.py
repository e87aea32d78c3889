"""Strategies for `hypothesis`: module trees, configs, schemes, tensors and seeds."""

from .configs import configs as configs
from .configs import schemes as schemes
from .descriptions import Branch as Branch
from .descriptions import Layer as Layer
from .descriptions import Stage as Stage
from .descriptions import Unit as Unit
from .tensors import TensorLayout as TensorLayout
from .tensors import seeds as seeds
from .tensors import tensors as tensors
from .trees import layers as layers
from .trees import module_trees as module_trees
