"""Makes `foreign`, the LightningModules that owe us nothing, importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
