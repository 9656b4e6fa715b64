from pathlib import Path
from typing import Any

import pytest
import torch
from callback_cases import drawers
from foreign import IMAGES, PLANE
from foreign_ranks import ranked

from lightning_flows.transforms import Ranking
from scripts import run_script, same_drawings

SCRIPT = Path(__file__).parent / "foreign_ranks.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of all runs of the script, and what it said on stderr."""
    root = tmp_path_factory.mktemp("runs")
    return root, run_script(SCRIPT, root)


def witness(root: Path, rank: int) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(root / f"rank{rank}.pt")
    return state


KINDS = {"images": IMAGES, "plane": PLANE}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_two_ranks_draw_what_one_draws(runs: tuple[Path, str], kind: str) -> None:
    one, two = (runs[0] / f"{kind}{n}" / "images" for n in (1, 2))
    drawn = {path.parts[0] for path in same_drawings(one, two)}
    assert drawn == {callback.name for callback in drawers(KINDS[kind])}


@each_kind
def test_rank_0_alone_writes_and_everything_once(runs: tuple[Path, str], kind: str) -> None:
    lines = (runs[0] / f"{kind}2" / "written.txt").read_text().splitlines()
    names = [callback.name for callback in drawers(KINDS[kind])]
    assert sorted(lines) == sorted(f"0 {name} {n}" for name in names for n in ("0001", "0002"))


def test_training_is_the_same_with_and_without_pictures(runs: tuple[Path, str]) -> None:
    drawn, plain = runs[0] / "with", runs[0] / "without"
    assert (drawn / "images" / "samples" / "0002.png").exists()
    for rank in (0, 1):
        left, right = witness(drawn, rank), witness(plain, rank)
        assert torch.equal(left["rng"], right["rng"])
        for key, value in left["weights"].items():
            assert torch.equal(value, right["weights"][key]), key
            assert torch.equal(value, witness(drawn, 0)["weights"][key]), key


def test_an_error_on_one_rank_is_one_warning_and_no_deadlock(runs: tuple[Path, str]) -> None:
    root, stderr = runs
    assert stderr.count("SampleGrid drew nothing: RuntimeError: no samples here") == 1
    assert witness(root / "fails", 1)["steps"] == witness(root / "with", 1)["steps"]
    assert not (root / "fails" / "images" / "samples").exists()
    assert (root / "fails" / "images" / "reconstructions" / "0002.png").exists()


def test_a_nan_on_one_rank_skips_the_step_on_both(runs: tuple[Path, str]) -> None:
    first, second = (witness(runs[0] / "diverges", rank) for rank in (0, 1))
    assert first["skipped"] == second["skipped"] == [1]
    assert first["steps"] == 4
    for key, value in first["weights"].items():
        assert value.isfinite().all()
        assert torch.equal(value, second["weights"][key])


def test_both_ranks_train_the_same_block(runs: tuple[Path, str]) -> None:
    first, second = (witness(runs[0] / "greedy", rank) for rank in (0, 1))
    assert first["blocks"] == second["blocks"] == [2]  # the next one
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key])
    last = [value for key, value in first["weights"].items() if key.endswith("layers.2.weight")]
    assert [bool(value.any()) for value in last] == [True, True, False], "identity until its turn"


def test_splits_are_ranked_by_the_data_of_both_ranks(runs: tuple[Path, str]) -> None:
    """And at once, not when DDP next copies the buffers of rank 0."""
    steps = [torch.load(runs[0] / "ranked" / f"steps{rank}.pt") for rank in (0, 1)]
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
