"""The comparison on foreign images runs on generated files, and measures what it says."""

import math
from functools import partial

import pytest
import torch

from experiments.common import foreign
from experiments.common.results import Results
from experiments.few_latents import page as few_latents_page
from experiments.few_latents import run as few_latents
from experiments.foreign_images import run as foreign_images
from experiments.foreign_images.page import page
from image_files import write_images
from lightning_flows.flows import NICE, FreeFormFlow
from lightning_flows.modules import DensityModule, FreeFormModule
from lightning_flows.nets import MLPDecoder, MLPEncoder

BIJECTIVE = partial(DensityModule, partial(NICE, layers=2, hidden=(8,)))
INJECTIVE = partial(
    FreeFormModule,
    partial(
        FreeFormFlow,
        latent_features=3,
        encoder=partial(MLPEncoder, hidden=(8,)),
        decoder=partial(MLPDecoder, hidden=(8,)),
    ),
)
BROKEN = partial(BIJECTIVE, optimizer=partial(torch.optim.SGD, lr=1e30))


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A folder of random images, and splits that they suffice for."""
    for name in ("MNIST", "FashionMNIST"):
        write_images(tmp_path, name, train=40, t10k=16)
    write_images(tmp_path, "notMNIST", packed=True, t10k=40)
    sizes = {"MNIST": {}, "Fashion-MNIST": {}, "notMNIST": {"test": 16}}
    for name, options in sizes.items():
        short = partial(foreign.MODULES[name], validation=8, **options)
        monkeypatch.setitem(foreign.MODULES, name, short)
    monkeypatch.setattr(foreign, "EPOCHS", 1)
    return tmp_path


def test_every_pair_and_score_is_reported(few, tmp_path):
    out, picture = tmp_path / "found.json", tmp_path / "found.png"
    options = ["--data", str(few), "--seeds", "1", "--steps", "2", "--out", str(out)]
    methods = {"bijective": BIJECTIVE, "free-form": INJECTIVE, "broken": BROKEN}
    foreign_images.main([*options, "--figure", str(picture)], methods)
    results = Results.load(out)
    assert [run["method"] for run in results.runs] == 2 * list(methods)
    for run in results.runs:
        others = foreign.FOREIGN[run["own"]]
        broken = run["method"] == "broken"
        assert list(run["auroc"]) == ([] if broken else list(others))
        for scores in run["auroc"].values():
            assert list(scores) == list(run["fit"])
            assert all(0 <= area <= 1 for area in scores.values())
    assert foreign_images.rows_of(results.runs) == [
        ("bijective", foreign.AMBIENT),
        ("free-form", foreign.ON_MANIFOLD),
        ("free-form", foreign.AMBIENT),
        ("free-form", foreign.ERROR),
        ("broken", foreign.AMBIENT),
    ]
    assert page(results).details[0][1].count("| free-form |") == 3
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (few / "MNIST" / "raw").iterdir())[0].endswith("ubyte")


def test_residuals_are_weighed_at_maximum_likelihood(few):
    data = foreign.load("MNIST", str(few), 0)
    model = foreign.train(INJECTIVE, data, seed=0, steps=1)
    x = foreign.images(data, "val", 8, 0)
    beta = foreign.fitted_beta(model, x)
    scores = [foreign.score(model, x, beta=factor * beta) for factor in (0.98, 1, 1.02)]
    ambient = [each[foreign.AMBIENT].mean() for each in scores]
    assert min(ambient) == ambient[1]


def test_foreign_images_are_told_by_every_score(few):
    # white images are far from the random ones that a model was fitted to
    data = foreign.load("MNIST", str(few), 0)
    x = foreign.images(data, "test", 16, 0)
    for make in (BIJECTIVE, INJECTIVE):
        model = foreign.train(make, data, seed=0, steps=1)
        own, white = foreign.score(model, x), foreign.score(model, torch.full_like(x, 255))
        assert white[foreign.AMBIENT].min() > own[foreign.AMBIENT].max()
    assert white[foreign.ERROR].min() > own[foreign.ERROR].max()


def test_scores_without_a_number_are_most_foreign():
    class Blind(torch.nn.Module):
        def log_prob(self, x):
            return torch.tensor([math.nan, 0.0, -1.0])

    scores = foreign.score(Blind(), torch.zeros(3, 1, 28, 28))
    assert scores[foreign.AMBIENT].tolist() == [math.inf, 0, 1]


def test_models_of_few_latents_are_compared(few, tmp_path, monkeypatch):
    funnels, vae = (few_latents.METHODS[f"{name}, 4 latents"] for name in ("funnels", "VAE"))
    methods = {"funnels": funnels, "bijective spline flow": BIJECTIVE, "VAE": vae}
    monkeypatch.setattr(few_latents, "METHODS", methods)
    out = tmp_path / "found.json"
    few_latents.main(["--data", str(few), "--seeds", "1", "--steps", "2", "--out", str(out)])
    rows = few_latents_page.page(Results.load(out)).rows
    assert [row[0] for row in rows] == list(methods)
    assert all(0 <= float(area) <= 1 for row in rows for area in row[1:3])
