"""Components of digits are counted, drawn and reported."""

from functools import partial

import torch

from experiments.digits import run as digits
from lightning_flows.flows import FreeFormFlow
from lightning_flows.modules import FreeFormModule
from lightning_flows.nets import ConvDecoder, ConvEncoder


def test_components_of_digits_are_drawn_and_counted(tmp_path):
    torch.manual_seed(0)
    flow = partial(
        FreeFormFlow,
        latent_features=8,
        encoder=partial(ConvEncoder, channels=(4,)),
        decoder=partial(ConvDecoder, channels=(4,)),
    )
    module = FreeFormModule(flow, (1, 4, 4)).eval()
    labels = torch.arange(40) % 10
    found = digits.digits_of(torch.rand(40, 1, 4, 4), labels, 2)
    assert [len(x) for x in found.values()] == [2] * 10
    assert set(digits.time(module, found[0], 1).seconds) == {"iterative", "J and SVD"}
    figures = digits.measures(module, found[1])
    assert all(value.shape == (2,) for value in figures.values())
    assert ((figures["deformation"] >= 0) & (figures["deformation"] <= 1)).all()
    path = tmp_path / "digits.png"
    digits.picture(module, torch.cat([x[:1] for x in found.values()]), path)
    assert path.read_bytes().startswith(b"\x89PNG")
