"""Rows of real numbers and categories, from the table to samples."""

from functools import partial

import pytest
import torch

from lightning_flows import DensityModule, MixedFlow, RealNVP, SurjectiveModule
from lightning_flows.core.errors import ConfigError
from lightning_flows.datamodules import Arrays
from mixed_tables import CATEGORICAL, FRAME

pytestmark = pytest.mark.filterwarnings("ignore:.*val(_dataloader|idation_step)")


def test_a_flow_that_knows_no_categories_is_refused(make_trainer):
    data = Arrays(data=FRAME, categorical=CATEGORICAL)
    for flow in (partial(RealNVP, layers=2), partial(MixedFlow, classes=[0, 2, 0, 2])):
        with pytest.raises(ConfigError, match=r"MixedFlow with classes=\[0, 3, 0, 2\]"):
            make_trainer().fit(DensityModule(flow, data.event_shape), data)


@pytest.mark.parametrize("encoding", ["one-hot", "binary"])
def test_samples_are_categories_with_their_frequencies(make_trainer, tmp_path, encoding):
    torch.manual_seed(0)
    data = Arrays(data=FRAME, categorical=CATEGORICAL, batch_size=100)
    inner = partial(RealNVP, layers=4, hidden=(16,))
    flow = partial(MixedFlow, classes=data.classes, encoding=encoding, flow=inner)
    optimizer = partial(torch.optim.Adam, lr=1e-2)
    model = SurjectiveModule(flow, data.event_shape, optimizer=optimizer)
    trainer = make_trainer(max_epochs=15)
    trainer.fit(model, data)
    with torch.no_grad():
        x = model.eval().sample(20_000)
    color, grade = x[:, 1], x[:, 3]
    assert {*color.unique().tolist()} == {0, 1, 2}
    assert {*grade.unique().tolist()} == {0, 1}
    train = data._splits["train"]["x"]
    for k in range(3):
        assert (color == k).float().mean().item() == pytest.approx(
            (train[:, 1] == k).float().mean().item(), abs=0.1
        )
    assert (grade == 1).float().mean().item() == pytest.approx(0.25, abs=0.1)
    gap = x[color == 2, 0].mean() - x[color != 2, 0].mean()
    assert gap.item() == pytest.approx(4.0, abs=0.8)  # red ones are larger
    found = trainer.test(model, data, verbose=False)[0]
    assert found["test/elbo"] < found["test/iwbo_100"]
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    again = SurjectiveModule.load_from_checkpoint(path, weights_only=True).eval()
    torch.testing.assert_close(again.log_prob(train[:9]), model.log_prob(train[:9]))
