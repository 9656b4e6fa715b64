"""Events on the Earth, torsion angles, and toy distributions on known manifolds."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.core.errors import ConfigError, DataError
from lightning_flows.core.support import Simplex, Sphere, Torus
from lightning_flows.datamodules import Earth, Torsion, Toy
from manifold_files import write_earth, write_torsion
from proofs.supports import UniformOn, UniformTorus

REAL_DATA = os.environ.get("LIGHTNING_FLOWS_DATA")
real_data = pytest.mark.skipif(REAL_DATA is None, reason="needs LIGHTNING_FLOWS_DATA")


def rows(data):
    data.prepare_data()
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return torch.cat([loader.dataset.tensors["x"] for loader in loaders])


@pytest.mark.parametrize("name", ["quakes", "floods", "fires"])
def test_latitude_and_longitude_become_points_of_the_sphere(tmp_path, name):
    write_earth(tmp_path)
    x = rows(Earth(name, str(tmp_path)))
    assert Sphere(2).contains(x).all()
    degrees = np.loadtxt(tmp_path / "earth" / "fire.csv", delimiter=",", comments="#")
    latitude = torch.rad2deg(torch.asin(x[:, 2].double())).sort().values
    longitude = torch.rad2deg(torch.atan2(x[:, 1], x[:, 0]).double()).sort().values
    np.testing.assert_allclose(latitude, np.sort(degrees[:, 0]), atol=1e-4)
    np.testing.assert_allclose(longitude, np.sort(degrees[:, 1]), atol=1e-4)


def test_degrees_become_angles_by_their_names(tmp_path):
    write_torsion(tmp_path)
    data = Torsion("rna", str(tmp_path), columns=["chi", "alpha"])
    x = rows(data)
    assert data.column_names == ("chi", "alpha")
    assert Torus(2).contains(x).all()
    table = np.loadtxt(tmp_path / "torsion" / "rna.tsv", usecols=(8, 2))
    order = np.argsort(table[:, 0])
    found = torch.rad2deg(x.double()).numpy()
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], table[order], atol=1e-4)
    assert rows(Torsion("protein", str(tmp_path))).shape == (800, 2)
    assert Torsion("his", str(tmp_path)).column_names == ("phi", "psi", "chi1", "chi2")


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda _: Earth("storms"), ConfigError, "name is 'storms'; accepted are quakes, floods"),
        (lambda _: Earth(test=1.0), ConfigError, "accepted are shares whose sum is below 1"),
        (lambda _: Torsion(columns=["psi"]), ConfigError, r"columns is \['psi'\]; rna has alpha"),
        (lambda f: Earth("fires", str(f)).load(), DataError, "Earth lacks .*fire.csv, and prepare"),
        (lambda f: Torsion("rna", str(f)).load(), DataError, "Torsion lacks .*rna.tsv"),
        (lambda f: Torsion("arg", str(f)).load(), DataError, "There is no file .*put one with an"),
    ],
)
def test_says_what_is_missing(tmp_path, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(tmp_path)


def test_says_what_is_wrong_in_a_file(tmp_path):
    write_earth(tmp_path)
    write_torsion(tmp_path)
    (tmp_path / "earth" / "fire.csv").write_text("91.0,20.0\n10.0,10.0\n")
    with pytest.raises(DataError, match=r"fire.csv holds \[91.0, 20.0\]; accepted are latitudes"):
        Earth("fires", str(tmp_path)).load()
    (tmp_path / "torsion" / "rna.tsv").write_text("a\tG\t1.0\nb\tC\t200.0\n")
    with pytest.raises(DataError, match=r"rna\.tsv is no table of Torsion"):
        Torsion("rna", str(tmp_path)).load()
    with pytest.raises(DataError, match="holds angles beyond 180"):
        Torsion("rna", str(tmp_path), columns=["alpha"]).load()


@real_data
def test_the_real_files_have_the_rows_of_the_papers():
    folder = str(Path(str(REAL_DATA)))
    for name, count in (("quakes", 6120), ("floods", 4875), ("fires", 12809)):
        assert rows(Earth(name, folder)).shape == (count, 3)
    assert rows(Torsion("rna", folder)).shape == (9478, 7)
    assert rows(Torsion("trp", folder)).shape == (18748, 4)


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("von_mises_fisher", UniformOn(Sphere(2), (3,))),
        ("wrapped_normal", UniformTorus(2)),
        ("dirichlet", UniformOn(Simplex(2), (3,))),
    ],
)
def test_toy_densities_have_mass_one_and_belong_to_their_samples(name, proposal):
    data = Toy(name, n_train=50_000, n_val=0, n_test=10)
    data.setup()
    x = data.train_dataloader().dataset.tensors["x"].double()
    torch.manual_seed(0)
    at = proposal.double().draw(400_000)
    log_p = data.true_log_prob(at)
    weights = (log_p - proposal.log_prob(at)).exp()
    noise = (weights.std() / len(at) ** 0.5).item()
    assert weights.mean().item() == pytest.approx(1, abs=5 * noise)
    scores = data.true_log_prob(x)
    expected = (weights * log_p).mean()
    margin = 5 * (scores.std() / len(x) ** 0.5 + (weights * log_p).std() / len(at) ** 0.5)
    assert (scores.mean() - expected).abs() < margin
    assert math.isfinite(scores.min())
