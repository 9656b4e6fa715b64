"""A table of two columns of real numbers and two of categories."""

import numpy as np
import pandas as pd

_RNG = np.random.default_rng(0)
_COLOR = _RNG.choice(["red", "green", "blue"], 2000, p=[0.5, 0.3, 0.2])
FRAME = pd.DataFrame(
    {
        "size": _RNG.normal(5.0, 2.0, 2000) + 4.0 * (_COLOR == "red"),
        "color": _COLOR,
        "weight": _RNG.normal(size=2000),
        "grade": _RNG.choice([10, 20], 2000, p=[0.75, 0.25]),
    }
)
CATEGORICAL = ["color", "grade"]
