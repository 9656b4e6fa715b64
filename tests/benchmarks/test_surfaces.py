"""Surfaces, tables and digits: the pieces that their components are measured with."""

from functools import partial

import pytest
import torch

from benchmarks import mnist_components, ranks, surfaces
from benchmarks.normals import NORMALS
from lightning_flows.datamodules import Toy
from lightning_flows.flows import FreeFormFlow
from lightning_flows.modules import FreeFormModule
from lightning_flows.nets import ConvDecoder, ConvEncoder


@pytest.mark.parametrize("name", NORMALS)
def test_normals_are_the_thin_direction_of_neighbors(name):
    x = Toy(name, noise=0.0, n_train=40_000).load()["train"]["x"]
    points = x[:100]
    near = x[torch.cdist(points, x).topk(12, largest=False).indices]
    thin = torch.linalg.svd(near - near.mean(1, keepdim=True)).Vh[:, -1]
    normal = torch.nn.functional.normalize(NORMALS[name](points), dim=1)
    assert (normal * thin).sum(1).abs().median() > 0.999


def test_surfaces_are_reported_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(surfaces, "POINTS", 64)
    kept, out, figure = (tmp_path / name for name in ("runs.pt", "results.md", "surfaces.png"))
    size = ["--seeds", "1", "--steps", "7", "--floor_steps", "3"]
    some = ["--only", "s_curve", "torus", surfaces.NEITHER]
    surfaces.main([*size, *some, "--keep", str(kept)])
    monkeypatch.setattr(surfaces, "train", None)  # all that is asked for lies in the file
    surfaces.main([*size, *some, "--keep", str(kept), "--out", str(out), "--figure", str(figure)])
    text = out.read_text("utf-8")
    found = [line.split(" | ") for line in text.splitlines() if line[:5] in ("| s_c", "| tor")]
    names = ["| s_curve", "| s_curve", "| torus", "| torus", "| s_curve", "| torus"]
    assert [row[0] for row in found] == names
    assert {row[-1] for row in found[:4]} == {"1 |"}
    assert {len(row) for row in found[4:]} == {4}
    (floor,) = [line for line in text.splitlines() if line.startswith(f"| {surfaces.NEITHER}")]
    assert floor.count("→") == 4
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_linear_flow_reports_the_rank_of_a_table():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3000, 3, generator=generator) * torch.tensor([1.0, 0.3, 0.05])
    table = torch.cat([rows @ torch.randn(3, 4, generator=generator), torch.zeros(3000, 1)], 1)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(table.double().T)).flip(0)
    assert ranks.choose_noise(table) == pytest.approx(eigenvalues[2].item() / 10, rel=1e-3)
    found = ranks.run(ranks.Linear, table, table[:50], seed=0, steps=1000)
    assert found.dimension == 3
    assert (found.dimensions == 3).all()
    assert found.spanned[:3].allclose(eigenvalues[:3], rtol=0.1)


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
    digits = mnist_components.digits_of(torch.rand(40, 1, 4, 4), labels, 2)
    assert [len(x) for x in digits.values()] == [2] * 10
    timing = mnist_components.time(module, digits[0], 1)
    text = mnist_components.table(module, digits, timing)
    assert [line.split(" | ")[0] for line in text.splitlines() if line[:3] in ("| 1", "| 8")] == [
        "| 1",
        "| 8",
    ]
    path = tmp_path / "digits.png"
    mnist_components.picture(module, torch.cat([x[:1] for x in digits.values()]), path)
    assert path.read_bytes().startswith(b"\x89PNG")
