"""The initialization API of `mmengine.model`, under the same names.

Example:
    >>> import torch
    >>> from autoinit.compat.mmengine import BaseModule
    >>> class Head(BaseModule):
    ...     def __init__(self, init_cfg=dict(type="Constant", val=1, layer="Linear")):
    ...         super().__init__(init_cfg)
    ...         self.fc = torch.nn.Linear(1, 1)
    >>> head = Head()
    >>> head.init_weights()
    >>> head.fc.weight.item(), head.is_init
    (1.0, True)
"""

from ...config import bias_init_with_prob as bias_init_with_prob
from ...functional import caffe2_xavier_init as caffe2_xavier_init
from ...functional import constant_init as constant_init
from ...functional import kaiming_init as kaiming_init
from ...functional import normal_init as normal_init
from ...functional import trunc_normal_init as trunc_normal_init
from ...functional import uniform_init as uniform_init
from ...functional import xavier_init as xavier_init
from .applying_rules import initialize as initialize
from .applying_rules import update_init_info as update_init_info
from .init_classes import WEIGHT_INITIALIZERS as WEIGHT_INITIALIZERS
from .init_classes import BaseInit as BaseInit
from .init_classes import Caffe2XavierInit as Caffe2XavierInit
from .init_classes import ConstantInit as ConstantInit
from .init_classes import KaimingInit as KaimingInit
from .init_classes import NormalInit as NormalInit
from .init_classes import PretrainedInit as PretrainedInit
from .init_classes import TruncNormalInit as TruncNormalInit
from .init_classes import UniformInit as UniformInit
from .init_classes import XavierInit as XavierInit
from .modules import BaseModule as BaseModule
from .modules import ModuleDict as ModuleDict
from .modules import ModuleList as ModuleList
from .modules import Sequential as Sequential

__all__ = [
    "WEIGHT_INITIALIZERS",
    "BaseInit",
    "BaseModule",
    "Caffe2XavierInit",
    "ConstantInit",
    "KaimingInit",
    "ModuleDict",
    "ModuleList",
    "NormalInit",
    "PretrainedInit",
    "Sequential",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "constant_init",
    "initialize",
    "kaiming_init",
    "normal_init",
    "trunc_normal_init",
    "uniform_init",
    "update_init_info",
    "xavier_init",
]
