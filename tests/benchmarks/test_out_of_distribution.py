"""The benchmark of foreign images runs on generated files, and measures what it says."""

import math
from functools import partial

import pytest
import torch

from benchmarks import anomalies, foreign
from benchmarks import out_of_distribution as ood
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

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


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


def test_every_pair_and_score_is_reported(few, tmp_path, capsys):
    out, picture = tmp_path / "new" / "found.md", tmp_path / "found.png"
    options = ["--data", str(few), "--seeds", "1", "--steps", "2", "--out", str(out)]
    methods = {"bijective": BIJECTIVE, "free-form": INJECTIVE, "broken": BROKEN}
    ood.main([*options, "--figure", str(picture)], methods)
    rows = [line.strip("| ").split(" | ") for line in out.read_text("utf-8").splitlines()]
    scored = [row for row in rows if row[0] in methods]
    assert [row[:2] for row in scored[: len(scored) // 2]] == [
        ["bijective", foreign.AMBIENT],
        ["free-form", foreign.ON_MANIFOLD],
        ["free-form", foreign.AMBIENT],
        ["free-form", foreign.ERROR],
        ["broken", foreign.AMBIENT],
    ]
    for name, _, *cells in scored:
        assert len(cells) == len(ood.PAIRS)
        assert all(cell == "–" if name == "broken" else 0 <= float(cell) <= 1 for cell in cells)
    fits = [row for row in rows if row[0] in foreign.FOREIGN]
    assert [(row[0], row[1], row[-1]) for row in fits] == [
        (own, name, str(int(name == "broken"))) for own in foreign.FOREIGN for name in methods
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "seed 0, MNIST, bijective" in capsys.readouterr().out
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
    funnels = anomalies.METHODS["funnels, 4 latents"]
    methods = {"funnels": funnels, "bijective": BIJECTIVE, "broken": BROKEN}
    monkeypatch.setattr(anomalies, "METHODS", methods)
    out = tmp_path / "found.md"
    anomalies.main(["--data", str(few), "--seeds", "1", "--steps", "2", "--out", str(out)])
    rows = [line.strip("| ").split(" | ") for line in out.read_text("utf-8").splitlines()]
    found = {row[0]: row[1:] for row in rows if row[0] in methods}
    assert [row[-1] for row in found.values()] == ["0", "0", "1"]
    assert all(0 <= float(area) <= 1 for area in found["funnels"][:2])
