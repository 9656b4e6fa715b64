"""The certificate of mass on a foreign module whose loss is off by a known constant."""

import math
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from foreign import PLANE, Cloud, Foreign, loader, trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_flows.callbacks import MassCertificate
from lightning_flows.core.noise import Reproducible, normal_noise
from lightning_flows.metrics import Mass, log_mass

pytestmark = pytest.mark.filterwarnings("ignore:.*(many workers|eval mode|LeafSpec|not empty)")
WARNING = "The loss is no negative log-likelihood any more"


class Off(Foreign):
    """Its loss is the negative log of a density of mass exp(`log_mass`)."""

    def __init__(self, log_mass: float, shape: tuple[int, ...] = PLANE) -> None:
        super().__init__(shape, lr=0.0)
        self.log_mass = log_mass

    def objective_nll(self, x: Tensor) -> Tensor:
        assert not self.training
        return -self.log_prob(x) - self.log_mass


def certify(samples: int, *, points: int = 64, every_n_epochs: int = 1, **options: Any) -> Any:
    return MassCertificate(samples, points=points, every_n_epochs=every_n_epochs, **options)


def fit(
    root: Path,
    module: pl.LightningModule,
    certificate: MassCertificate,
    data: Any = None,
    **options: Any,
) -> tuple[pl.Trainer, list[str]]:
    """The trainer, and what it warned of."""
    data = loader(PLANE) if data is None else data
    run = trainer(root, callbacks=[certificate], **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(module, data, data)
    said = [str(w.message) for w in caught]
    return run, [line for line in said if WARNING in line or "drew nothing" in line]


@pytest.mark.parametrize("log_mass_of_loss", [0.0, -1.0, 0.7, 5000.0])
def test_what_is_logged_is_the_mass_and_an_excess_is_one_warning(
    log_mass_of_loss: float, tmp_path: Path
) -> None:
    module, certificate = Off(log_mass_of_loss), certify(2000, seed=3)
    run, said = fit(tmp_path, module, certificate)
    logged = Mass(*(float(run.callback_metrics[f"val/mass/{key}"]) for key in Mass._fields))
    assert logged.log_mass == pytest.approx(log_mass_of_loss, abs=4 * logged.standard_error)
    assert 0 < logged.standard_error < 0.1
    assert len(said) == (log_mass_of_loss > 0)
    assert all(f"has mass exp({logged.log_mass:.4g}) with" in line for line in said)
    assert certificate._fixed is not None
    with torch.no_grad():
        module.eval()
        expected = log_mass(module.objective_nll, certificate._fixed.x, samples=2000, seed=3)
    np.testing.assert_allclose(logged, expected, rtol=1e-3, atol=1e-5)  # logged in single precision
    for epoch in (1, 2):
        with np.load(tmp_path / "images" / "mass" / f"{epoch:04d}.npz") as arrays:
            assert {*Mass._fields, "x", "loss", "log_weight"} == {*arrays}
            assert float(arrays["log_mass"]) == pytest.approx(expected.log_mass, abs=1e-5)
            assert arrays["x"].shape == (64, *PLANE)
            assert (np.diff(arrays["log_weight"]) <= 0).all()
            with torch.no_grad():
                loss = module.objective_nll(torch.as_tensor(arrays["x"]))
            np.testing.assert_allclose(arrays["loss"], loss, rtol=1e-5, atol=1e-4)
    fit(tmp_path, module, certificate, max_epochs=1)  # another run of the same callback
    _, again = fit(tmp_path, module, certificate, max_epochs=1)
    assert len(again) == len(said)


def test_a_test_has_names_of_its_own_and_measures_what_is_tested(tmp_path: Path) -> None:
    module, certificate = Off(0.7), certify(500, every_n_epochs=2, name="m")
    run, said = fit(tmp_path, module, certificate, max_epochs=1)
    assert "val/m/log_mass" not in run.callback_metrics
    assert len(said) == 1, "the end of fit is measured as well"
    with pytest.warns(UserWarning, match=WARNING):
        run.test(module, loader(PLANE), verbose=False)
    assert run.callback_metrics["test/m/log_mass"] == pytest.approx(0.7, abs=0.3)
    assert "val/m/log_mass" not in run.callback_metrics


class Holes(Off):
    """Has no loss to the left of its shift."""

    def objective_nll(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, super().objective_nll(x), torch.nan)


def test_losses_that_are_nan_are_no_mass_and_their_share_is_logged(tmp_path: Path) -> None:
    certificate = certify(2000)
    run, said = fit(tmp_path, Holes(0.0), certificate, max_epochs=1)
    logged = run.callback_metrics
    error = 4 * float(logged["val/mass/standard_error"])
    assert float(logged["val/mass/log_mass"]) == pytest.approx(-math.log(2), abs=error)
    assert 0.4 < float(logged["val/mass/nan_share"]) < 0.6
    assert not said


class WithContext(Dataset[Any]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return {"x": Cloud(PLANE).x[index], "context": torch.tensor([1.0 + index])}


class Conditional(Foreign):
    """Has mass exp(context)."""

    context_shape = (1,)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return -self.log_prob(batch["x"]).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def objective_nll(self, x: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(x) - context[:, 0]


def test_a_conditional_module_gets_the_context_of_the_first_point(tmp_path: Path) -> None:
    data = DataLoader(WithContext(), batch_size=16)
    certificate = certify(1000)
    run, said = fit(tmp_path, Conditional(PLANE, lr=0.0), certificate, data, max_epochs=1)
    logged = run.callback_metrics
    error = 4 * float(logged["val/mass/standard_error"])
    assert float(logged["val/mass/log_mass"]) == pytest.approx(1.0, abs=error)
    assert len(said) == 1


class Mean(Off):
    def objective_nll(self, x: Tensor) -> Tensor:
        return super().objective_nll(x).mean()


def test_what_gives_no_estimate_is_one_warning(tmp_path: Path) -> None:
    _, said = fit(tmp_path, Mean(0.0), certify(100))
    assert len(said) == 1
    assert "objective_nll of Mean gave shape () for 100 points" in said[0]
    _, said = fit(tmp_path, Off(0.0), certify(100, points=2))
    assert len(said) == 1
    assert "data have 2 points of 2 entries; more points" in said[0]


class Noisy(Off):
    """Its loss has normal noise, from the global state or, reproducibly, from the data."""

    def __init__(self, log_mass: float, noise: float, *, reproducible: bool) -> None:
        super().__init__(log_mass)
        self.noise, self.reproducible = noise, reproducible

    def objective_nll(self, x: Tensor) -> Tensor:
        with Reproducible(x, self.reproducible):
            return super().objective_nll(x) + self.noise * normal_noise((len(x),), x)


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_noise_of_a_loss_is_no_mass(noise: float, reproducible: bool, tmp_path: Path) -> None:
    """One evaluation has mass e^(noise²/2), an average of 8 still e^(noise²/16)."""
    for off in (0.0, 0.7):
        module = Noisy(off, noise, reproducible=reproducible)
        run, said = fit(tmp_path, module, certify(3000), max_epochs=1)
        logged = run.callback_metrics
        error = 4 * float(logged["val/mass/standard_error"])
        assert error < 0.2
        assert float(logged["val/mass/log_mass"]) == pytest.approx(off, abs=error)
        assert len(said) == (off > 0)


@pytest.mark.parametrize("elsewhere", [math.inf, -math.inf, math.nan])
def test_noise_beside_losses_that_are_not_finite(elsewhere: float, tmp_path: Path) -> None:
    class Partly(Noisy):
        def objective_nll(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0] > 0, super().objective_nll(x), elsewhere)

    module = Partly(0.0, 1.0, reproducible=True)
    run, said = fit(tmp_path, module, certify(2000), max_epochs=1)
    found, error = (float(run.callback_metrics[f"val/mass/{key}"]) for key in Mass._fields[:2])
    infinite = elsewhere == -math.inf
    assert found == (math.inf if infinite else pytest.approx(-math.log(2), abs=4 * error))
    assert len(said) == infinite
    assert (float(run.callback_metrics["val/mass/nan_share"]) > 0.4) == math.isnan(elsewhere)


def test_a_loss_without_noise_is_evaluated_once(tmp_path: Path) -> None:
    class Counts(Off):
        rows = 0

        def objective_nll(self, x: Tensor) -> Tensor:
            self.rows += len(x)
            return super().objective_nll(x)

    module = Counts(0.0)
    fit(tmp_path, module, certify(1024), max_epochs=1)
    assert module.rows == 1024 + 4 * 16
