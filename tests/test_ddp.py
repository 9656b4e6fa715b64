"""All families under DDP, three of them with all callbacks: two processes do what one does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows import DensityModule, RectangularModule, SurjectiveModule
from lightning_flows.transforms import Ranking
from scripts import run_script, same_drawings
from two_ranks import ranked

SCRIPT = Path(__file__).parent / "two_ranks.py"
FAMILIES = {
    "rectangular": RectangularModule,
    "density": DensityModule,
    "surjective": SurjectiveModule,
}
family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of all runs of the script."""
    root = tmp_path_factory.mktemp("runs")
    run_script(SCRIPT, root)
    return root


@family
def test_both_ranks_end_with_the_same_weights(runs, family):
    first, second = (torch.load(runs / family / f"rank{rank}.pt") for rank in (0, 1))
    assert first["steps"] == second["steps"] == 12
    assert first["skipped"] == second["skipped"] == [0]
    assert list(first["weights"]) == list(second["weights"])
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), key
        assert value.isfinite().all(), key
    flags = [value for key, value in first["weights"].items() if "initialized" in key]
    assert len(flags) >= 2
    assert all(flags)


@family
def test_the_checkpoint_of_two_ranks_serves_one_process(runs, family):
    again = FAMILIES[family].load_from_checkpoint(runs / family / "last.ckpt", weights_only=True)
    weights = torch.load(runs / family / "rank0.pt")["weights"]
    for key, value in again.state_dict().items():
        assert torch.equal(value, weights[key]), key


@family
def test_rank_0_alone_writes_and_everything_once(runs, family):
    names = ["components", "reconstructions", "samples", *["density"] * (family != "rectangular")]
    for folder, stems in ((family, ("0001", "0002", "0003")), (f"{family}2", ("test", "validate"))):
        lines = (runs / folder / "written.txt").read_text().splitlines()
        assert sorted(lines) == sorted(f"0 {name} {stem}" for name in names for stem in stems)


@family
def test_two_ranks_draw_what_one_draws(runs, family):
    one, two = (runs / f"{family}{n}" / "images" for n in (1, 2))
    assert len(same_drawings(one, two)) == (18 if family == "rectangular" else 22)


@family
@pytest.mark.parametrize("action", ["test", "validate"])
def test_metrics_of_uneven_shares_are_those_of_one_process(runs, family, action):
    one, two = (torch.load(runs / f"{family}{n}" / f"{action}.pt") for n in (1, 2))
    assert list(one) == list(two)
    stage = "val" if action == "validate" else "test"
    bounds = {f"{stage}/elbo"} | ({"test/iwbo_7"} if stage == "test" else set())
    bounds |= {f"{name}_se" for name in bounds}
    assert (bounds if family == "surjective" else {f"{stage}/nll"}) <= set(one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5, msg=name)


@family
def test_predictions_are_those_of_one_process_in_the_order_of_the_data(runs, family):
    paths = [runs / f"{family}{n}" / "predictions.npz" for n in (1, 2)]
    with np.load(paths[0]) as one, np.load(paths[1]) as two:
        keys = ["elbo" if family == "surjective" else "log_prob", "latent"]
        assert list(map(len, one.values())) == [97, 97]
        for key in keys:
            np.testing.assert_allclose(one[key], two[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["joint", "two_step"])
def test_two_ranks_learn_what_one_process_learns(runs, name):
    """Through warm-up, penalties and multiplier, and through both steps, to rounding."""
    one, first, second = (
        torch.load(runs / f"{name}{n}" / f"gradients{rank}.pt")
        for n, rank in ((1, 0), (2, 0), (2, 1))
    )
    assert len(one) == 16
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one, rtol=1e-6, atol=1e-6)
    assert one.any(1).all()
    one, first, second = (
        torch.load(runs / f"{name}{n}" / f"rank{rank}.pt") for n, rank in ((1, 0), (2, 0), (2, 1))
    )
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), key
        torch.testing.assert_close(value, one["weights"][key], rtol=1e-6, atol=1e-6, msg=key)
    assert first["steps"] == second["steps"] == one["steps"] == 16
    assert not torch.equal(first["rng"], second["rng"])  # each rank draws its own noise


def test_splits_are_ranked_by_the_data_of_both_ranks(runs):
    """And at once, not when DDP next copies the buffers of rank 0."""
    steps = [torch.load(runs / "ranked" / f"steps{rank}.pt") for rank in (0, 1)]
    model = ranked()[0].eval()
    for split in (0, 1):
        sums, rows = [], []
        for own in steps:
            each = []
            for epoch, x, state in own:
                if epoch == split:
                    model.load_state_dict(state)
                    each.append(model.flow.contributions(model.to_model_space(x)[0], split))
            sums.append(torch.cat(each).sum(0))
            rows.append(sum(map(len, each)))
        orders = [model.flow.rankings[split].order.clone()]
        for scores in (sum(sums) / sum(rows), sums[0] / rows[0], sums[1] / rows[1]):
            ranking = Ranking(scores.shape)
            ranking.rank(scores)
            orders.append(ranking.order)
        found, both, first, second = (order.tolist() for order in orders)
        assert found == both
        assert both not in (first, second)
    assert [epoch for epoch, _, _ in steps[0]] == 4 * [0] + 4 * [1] + 4 * [2]
    for (_, _, one), (_, _, two) in zip(*steps, strict=True):
        for key, value in one.items():
            assert torch.equal(value, two[key]), key
    ranked_twice, last = steps[0][7][2], steps[0][-1][2]
    assert any(not torch.equal(value, last[key]) for key, value in ranked_twice.items())
    assert all(value.isfinite().all() for value in last.values())
