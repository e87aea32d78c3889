"""From what the user wrote to a file on this machine."""

# Each of these registers the schemes that it is about.
from . import hugging_face, openmmlab_models, timm_models, torchvision_models, web  # noqa: F401
from .finding import Found as Found
from .finding import find as find
from .schemes import register_checkpoints as register_checkpoints
