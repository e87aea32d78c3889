"""How many inputs and outputs a unit of a weight has: as torch reads its shape, and as its layer is meant."""

from . import library_layers as library_layers
from . import torch_layers as torch_layers
from .conventions import Reading as Reading
from .conventions import as_layout as as_layout
from .conventions import own_layout as own_layout
from .conventions import register_fan as register_fan
from .fused import inner_layouts as inner_layouts
from .layout import Fans as Fans
from .layout import Layout as Layout
from .layout import Part as Part
from .layout import torch_fans as torch_fans
