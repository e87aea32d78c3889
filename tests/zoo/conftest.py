"""Makes torchvision (and timm, which needs it) importable for every test of the zoo."""

from .operators import torchvision_operators as torchvision_operators

torchvision_operators()
