"""Whose preprocessing a model has: that of its training data, whatever it meets afterwards."""

import warnings

import pytest
import torch
from lightning.pytorch.tuner import Tuner
from module_cases import CASES
from torch.utils.data import DataLoader

from lightning_flows.core.noise import Placed
from lightning_flows.datamodules import Arrays, Digits
from lightning_flows.modules.preprocessing import same
from lightning_flows.transforms.bijections.standardize import Standardize
from proofs.module_case import of_columns

DENSITY = CASES["density"].build
each_module = pytest.mark.parametrize("name", of_columns(CASES))
ANOTHER = "preprocessing .* not that of the model"


def points(scale=1.0, shift=0.0, n=100):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    return x * torch.tensor([1.0, 5.0, 30.0]) * scale + shift


def same_score(logged, model, data):
    """Whether a test has logged the likelihood of the data, or its bound, under the model."""
    data.setup("test")
    x = data.test_dataloader().tensors["x"]
    figure = "nll" if model.exact else "elbo"
    with torch.no_grad(), Placed(torch.arange(len(x))):
        value = model.eval().evaluate_test(x, None)[figure].mean()
    return logged[f"test/{figure}"] == pytest.approx(float(value), rel=1e-5)


@each_module
@pytest.mark.parametrize("plain", [False, True], ids=["standardize=False", "loaders"])
def test_a_model_without_preprocessing_stays_without_one(name, plain, make_trainer, tmp_path):
    x = points()
    trainer, model = make_trainer(max_steps=1), CASES[name].build(3)
    if plain:
        trainer.fit(model, DataLoader(x, 50), DataLoader(x, 50))
    else:
        trainer.fit(model, Arrays(data=x, standardize=False))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["preprocess"] is None
    again = type(model).load_from_checkpoint(tmp_path / "x.ckpt")
    before = again.eval().log_prob(x)
    other = Arrays(data=points(10, 5))
    with pytest.warns(UserWarning, match=f"{ANOTHER}, and is not used: the model has none"):
        logged = make_trainer().test(again, other, verbose=False)[0]
    assert same_score(logged, again, other)
    assert again.preprocess is None
    assert torch.equal(again.log_prob(x), before)
    with pytest.warns(UserWarning, match=ANOTHER):
        make_trainer(max_steps=1).fit(again.train(), other)  # a second fit decides nothing either
    assert again.preprocess is None


@each_module
def test_a_model_keeps_the_statistics_of_its_first_data(name, make_trainer, tmp_path):
    model, data, other = CASES[name].build(3), Arrays(data=points()), Arrays(data=points(10, 5))
    trainer = make_trainer(max_steps=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = type(model).load_from_checkpoint(tmp_path / "x.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the same data, and plain loaders
        warnings.filterwarnings("ignore", message=".*(many workers|LeafSpec)")
        make_trainer().test(again, Arrays(data=points()), verbose=False)
        make_trainer().test(again, DataLoader(points(), 50), verbose=False)
    with pytest.warns(UserWarning, match="the model keeps its own") as said:
        logged = make_trainer().test(again, other, verbose=False)[0]
    assert len([w for w in said if "keeps its own" in str(w.message)]) == 1
    with pytest.warns(UserWarning, match="the model keeps its own"):
        make_trainer(max_steps=1).fit(model, other)
    for each in (model, again):
        assert same(each.preprocess, data.preprocess)
    assert same_score(logged, again, other)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_a_resumed_run_has_the_preprocessing_of_its_checkpoint(standardize, make_trainer, tmp_path):
    data = Arrays(data=points(), standardize=standardize)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(DENSITY(3), data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    model = DENSITY(3)  # not yet trained, so it would take over what comes first
    with pytest.warns(UserWarning, match=ANOTHER):
        make_trainer(max_epochs=2).fit(
            model, Arrays(data=points(10, 5)), ckpt_path=tmp_path / "x.ckpt"
        )
    assert same(model.preprocess, data.preprocess)


def test_what_was_never_trained_takes_over_nothing(make_trainer):
    model, data = DENSITY(3), Arrays(data=points(10, 5))
    for step in ("test", "validate", "predict"):
        options = {} if step == "predict" else {"verbose": False}
        with pytest.warns(UserWarning, match="has none, because it has not been trained"):
            getattr(make_trainer(), step)(model, data, **options)
    assert model.preprocess is None
    make_trainer(max_steps=1).fit(model, data)  # tested before, and still adopts
    assert same(model.preprocess, data.preprocess)


def test_a_preprocessing_given_by_hand_stays(make_trainer):
    model = DENSITY(3)
    model.preprocess = own = Standardize(3)
    own.fit(points(2))
    with pytest.warns(UserWarning, match="the model keeps its own"):
        make_trainer(max_steps=1).fit(model, Arrays(data=points()))
    assert model.preprocess is own


@pytest.mark.filterwarnings("ignore:.*(lr_find|val_dataloader|configure_optimizers|LR finder)")
def test_the_tuner_decides_as_a_fit_does(make_trainer):
    model, data = DENSITY(3), Arrays(data=points(), batch_size=10)
    model.lr = 1e-3
    trainer = make_trainer(max_epochs=3)
    Tuner(trainer).lr_find(model, data, num_training=5, update_attr=False)
    assert same(model.preprocess, data.preprocess)


def test_sameness_is_that_of_parts_options_and_statistics():
    first, second = Digits().preprocess, Digits().preprocess
    assert same(first, second)
    assert same(None, None)
    assert not same(first, None)
    assert not same(first, Digits(alpha=0.1).preprocess)
    one, two = Standardize(3), Standardize(3)
    one.fit(points())
    assert not same(one, two)
    two.fit(points())
    assert same(one, two)
    assert same(one.double(), two)
    two.fit(points(1.001))
    assert not same(one, two)
