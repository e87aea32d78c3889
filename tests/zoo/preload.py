"""Imports of every examination, done once: the process that imports this is then forked for each model.

It starts no thread and draws no number, so that its forks are all alike.
"""

from __future__ import annotations

import importlib
import os

# Read when the libraries are imported. Models are built from configs; nothing may wait for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from . import examination as examination
from . import timm_models as timm_models
from . import torchvision_models as torchvision_models
from . import transformers_models as transformers_models

# Most files of models import these; imported here, they are not imported anew for each model.
for name in ("generation.utils", "modeling_layers", "processing_utils", "masking_utils"):
    importlib.import_module(f"transformers.{name}")
