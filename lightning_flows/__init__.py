"""Normalizing flows that learn where data lies and how densely, on PyTorch Lightning.

Names are imported when they are first used: `lightning_flows.flows` and its siblings serve in any
torch program without importing Lightning. The list of names is `__init__.pyi`.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
