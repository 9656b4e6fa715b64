"""The example of docs/surjections.md does what the guide says."""

import re
from functools import partial
from pathlib import Path

import torch

from lightning_flows import ComposedFlow, NeuralSplineFlow

GUIDE = Path(__file__).parents[2] / "docs" / "surjections.md"


def test_the_layer_of_the_guide_is_a_density_and_keeps_its_contract():
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": "guide"}
    exec(code, names)
    layer = names["LogRadius"](2)
    z = torch.randn(50, 1, dtype=torch.float64)
    x, contribution = layer.decode(z)
    again, same = layer.encode(x)
    torch.testing.assert_close(again, z)
    torch.testing.assert_close(same, contribution)
    assert x.std(0).min() > 0.5

    torch.manual_seed(0)
    splines = partial(NeuralSplineFlow, layers=2, hidden=(8,))
    flow = ComposedFlow(2, layers=[names["LogRadius"], splines]).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        step = 0.02
        axis = torch.arange(-20, 20, step, dtype=torch.float64) + step / 2
        quarter = torch.cartesian_prod(axis[axis > 0], axis[axis > 0])
        total = sum(flow.log_prob(part).exp().sum() for part in quarter.split(200_000))
        assert flow.exact
        beyond = (flow.sample(20_000).norm(dim=1) > 20).double().mean()
    assert abs(4 * total * step**2 + beyond - 1) < 0.02
