"""Normals of surfaces beside what their points say."""

import pytest
import torch

from experiments.common.normals import NORMALS
from lightning_flows.datamodules import Toy


@pytest.mark.parametrize("name", NORMALS)
def test_normals_are_the_thin_direction_of_neighbors(name):
    x = Toy(name, noise=0.0, n_train=40_000).load()["train"]["x"]
    points = x[:100]
    near = x[torch.cdist(points, x).topk(12, largest=False).indices]
    thin = torch.linalg.svd(near - near.mean(1, keepdim=True)).Vh[:, -1]
    normal = torch.nn.functional.normalize(NORMALS[name](points), dim=1)
    assert (normal * thin).sum(1).abs().median() > 0.999
