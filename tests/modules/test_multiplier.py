"""The weight β of the reconstruction: a number, a noise level, or a multiplier that learns."""

import lightning.pytorch as pl
import pytest
import torch
from joint import FAMILIES, Record, each_family, points, table
from module_cases import PADDED

from lightning_flows import (
    RectangularModule,
    TwoStepModule,
)
from lightning_flows.core.errors import ConfigError
from lightning_flows.modules import injective
from lightning_flows.objectives import (
    NoiseLevel,
    TargetError,
    reconstruction,
)


@each_family
@pytest.mark.parametrize(("target", "sign"), [(1e-9, 1), (1e9, -1)])
def test_the_multiplier_follows_the_error(family, target, sign, make_trainer):
    model, record = FAMILIES[family](reconstruction=TargetError(target, 5.0)), Record()
    trainer = make_trainer(max_epochs=2, callbacks=[record])
    trainer.fit(model, table())
    steps = torch.tensor([5.0, *record.betas]).log().diff()
    torch.testing.assert_close(steps, torch.full((4,), sign * 0.02), rtol=1e-3, atol=0)
    assert trainer.callback_metrics["train/beta"] == pytest.approx(record.betas[-1])


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_the_multiplier_is_saved_and_goes_on(make_trainer, tmp_path):
    def run(epochs, ckpt_path=None):
        record = Record()
        pl.seed_everything(0, verbose=False)
        model = FAMILIES["rectangular"](reconstruction=TargetError(1e-9))
        trainer = make_trainer(max_epochs=epochs, callbacks=[record])
        trainer.fit(model, table(), ckpt_path=ckpt_path)
        return trainer, model, record.betas

    whole = run(4)[2]
    half, model, first = run(2)
    half.save_checkpoint(tmp_path / "x.ckpt")
    again = RectangularModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert again.beta == model.beta == first[-1] != 50
    assert first + run(4, tmp_path / "x.ckpt")[2] == whole


def test_an_unreachable_target_is_said_once_and_training_goes_on(make_trainer, monkeypatch):
    monkeypatch.setattr(reconstruction, "LARGEST_BETA", 50.5)
    model = FAMILIES["free_form"](reconstruction=TargetError(1e-9), warmup=(0, 3))
    said = []
    monkeypatch.setattr(
        injective, "rank_zero_warn", lambda text: said.append((model.current_epoch, text))
    )
    trainer = make_trainer(max_epochs=6)
    trainer.fit(model, table())
    ((epoch, text),) = said
    assert epoch == 3  # not during the warm-up
    assert "does not come down to its target: β has reached 50.5" in text
    assert trainer.current_epoch == 6
    assert model.beta == pytest.approx(50.5)


def test_the_multiplier_stays_positive(make_trainer):
    model = FAMILIES["rectangular"](reconstruction=TargetError(1e9))
    model.reconstruction.log_multiplier.fill_(-200.0)  # e^-200 is zero in single precision
    make_trainer(num_sanity_val_steps=0).fit(model, table())
    assert model.beta == pytest.approx(1e-6)
    assert model.ambient_log_prob(points()).isfinite().all()


@each_family
def test_a_residual_is_a_beta(family):
    assert FAMILIES[family](reconstruction=NoiseLevel(0.1)).beta == pytest.approx(50)
    assert FAMILIES[family](reconstruction=NoiseLevel(2.0)).beta == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseLevel(0.0), "sigma is 0.0; accepted are positive"),
        (lambda: TargetError(-1.0), "target is -1.0; accepted are positive"),
        (lambda: TargetError(1.0, 0.0), "beta is 0.0; accepted are positive"),
    ],
)
def test_senseless_weights_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"), [("50", "reconstruction is '50'; give"), (-1.0, "beta is -1.0")]
)
def test_a_reconstruction_is_a_number_or_a_part(given, message):
    with pytest.raises(ConfigError, match=message):
        FAMILIES["rectangular"](reconstruction=given)
    with pytest.raises(ConfigError, match="accepted are numbers and NoiseLevel"):
        TwoStepModule(PADDED, 4, reconstruction=TargetError(1.0))


def test_a_multiplier_belongs_to_one_module():
    part = TargetError(1.0)
    first, second = (FAMILIES["rectangular"](reconstruction=part) for _ in range(2))
    first.reconstruction.observe(torch.tensor(9.0))
    assert first.beta > second.beta == pytest.approx(50.0)
