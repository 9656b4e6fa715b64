"""The benchmark of flowified layers compares maps of one kind. No timing is asserted."""

import torch

from benchmarks.surjective import ExponentialLinear, flowified, surjective_rows
from lightning_flows.transforms import FlowLinear


def test_exponentials_are_flowified_layers_too() -> None:
    torch.manual_seed(0)
    layer = ExponentialLinear(5, 3).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    z, contribution = layer.encode(x)
    torch.testing.assert_close(z, x @ layer.weight.T + layer.bias)
    assert layer.others is not None
    dropped = layer._rotate(x, adjoint=True)[:, 3:]
    torch.testing.assert_close(contribution, layer.others.score(dropped, z, None))  # L is 1
    decoded, again = layer.decode(z)
    torch.testing.assert_close(layer.encode(decoded), (z, again))


def test_networks_differ_in_the_rotation_alone() -> None:
    ours, theirs = (flowified((6, 4, 2), kind) for kind in (FlowLinear, ExponentialLinear))
    shapes = [
        {name: p.shape for name, p in flow.named_parameters() if "vectors" not in name}
        for flow in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


def test_rows_come_with_goals() -> None:
    rows = list(surjective_rows(quick=True, rounds=1, warmup=0))
    assert [row.goal for row in rows] == ["≤ 0.2", "≤ 1"]
