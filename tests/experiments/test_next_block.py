"""Greedy blocks beside what was expected of them."""

import torch

from experiments.common.results import Results
from experiments.next_block import run as next_block
from experiments.next_block.page import page


def test_latents_go_on_to_the_next_block(tmp_path):
    z = next_block.moons(0, rows=400)
    torch.testing.assert_close(z["train"].std(0), torch.ones(2), rtol=0.1, atol=0.1)
    runs = []
    for block in (1, 2):
        before = z
        encode, found = next_block.next_block(z, seed=0, steps=20)
        z = {name: encode(x) for name, x in z.items()}
        runs.append({"seed": 0, "block": block, **found})
        assert found["gain_error"] > 0
        assert not torch.equal(z["test"], before["test"])
    assert runs[0]["delta"] > 0.1
    figure = tmp_path / "next_block.png"
    next_block.picture(runs, figure)
    assert figure.read_bytes().startswith(b"\x89PNG")
    facts = {"rows": 2000, "batch": 512, "rate": 0.1, "hidden": [64, 64]}
    shown = page(Results("", {"steps": 50, "seeds": 1}, facts=facts, runs=runs))
    assert shown.answer.startswith("Of 2 blocks ")
    assert len(shown.rows) == 1
