"""What every module is held to on two ranks.

Forking from a pytest process is fragile, so `two_ranks.py` is run as a script; what its processes
leave in the folder of a case is what these proofs look at.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import drawing

from lightning_flows.callbacks import FlowCallback
from proofs.common import near, same
from proofs.module_case import ModuleCase, made, rows, slow_names
from resumed import check_resumed
from scripts import run_script, same_drawings

SCRIPT = Path(__file__).parents[1] / "two_ranks.py"


def crossed(cases: Mapping[str, ModuleCase]) -> list[Any]:
    """Every name with every proof, as arguments of pytest's parametrize."""
    slow = slow_names(cases)
    return [
        pytest.param(
            prove,
            name,
            id=f"{name}-{prove.__name__}",
            marks=[pytest.mark.slow] * (name in slow),
        )
        for name, prove in product(cases, PROOFS)
    ]


def runs_of(
    cases: Mapping[str, ModuleCase], module: str, folder: Callable[[], Path]
) -> Callable[[str], Path]:
    """The folder of a case by its name; cases that are slow run together when one is asked for.

    Args:
        cases: all of them.
        module: the module whose `CASES` they are.
        folder: makes an empty folder.
    """

    @cache
    def run(slow: bool) -> Path:
        root, later = folder(), slow_names(cases)
        names = [name for name in cases if (name in later) == slow]
        run_script(SCRIPT, root, module, *names)
        return root

    return lambda name: run(name in slow_names(cases)) / name


def left(root: Path, file: str) -> list[Any]:
    """What one process and what two have left."""
    return [torch.load(root / f"on {n}" / file) for n in (1, 2)]


def both_ranks_end_with_the_same_weights(root: Path, case: ModuleCase) -> None:
    first, second = (torch.load(root / "whole" / f"rank{rank}.pt")["weights"] for rank in (0, 1))
    same(first, second)
    for key, value in first.items():
        assert value.isfinite().all(), key
        if "initialized" in key:
            assert value.all(), key


def a_resumed_run_is_the_run(root: Path, case: ModuleCase) -> None:
    check_resumed(root, 2)


def the_checkpoint_of_two_ranks_serves_one_process(root: Path, case: ModuleCase) -> None:
    kind, path = type(made(case)[0]), root / "whole" / "checkpoints" / "last.ckpt"
    again = kind.load_from_checkpoint(path, weights_only=True).state_dict()
    same(dict(again), dict(torch.load(root / "whole" / "rank0.pt")["weights"]))


def two_ranks_learn_what_one_process_learns(root: Path, case: ModuleCase) -> None:
    """Through warm-up, penalties and multiplier, and through both steps, to rounding."""
    if not (root / "in step 1").exists():
        pytest.skip("each rank draws noise of its own in every step")

    def found(file: str) -> list[Any]:
        places = ("in step 1", 0), ("in step 2", 0), ("in step 2", 1)
        return [torch.load(root / folder / f"{file}{rank}.pt") for folder, rank in places]

    one, first, second = found("gradients")
    same(first, second)
    near(first, one, 1e-9)
    assert one.any(1).all()
    one, first, second = found("rank")
    same(first["weights"], second["weights"])
    for key, value in first["weights"].items():
        torch.testing.assert_close(value, one["weights"][key], rtol=1e-9, atol=1e-9, msg=key)
    assert first["steps"] == second["steps"] == one["steps"]
    assert not torch.equal(first["rng"], second["rng"])  # each rank draws its own noise


def rank_0_alone_writes_and_everything_once(root: Path, case: ModuleCase) -> None:
    lines = (root / "on 2" / "written.txt").read_text().splitlines()
    assert sorted(lines) == sorted(f"0 {name} test" for name in drawn(case))


def two_ranks_draw_what_one_draws(root: Path, case: ModuleCase) -> None:
    one, two = (root / f"on {n}" / "images" for n in (1, 2))
    pictures = [path for path in same_drawings(one, two) if path.suffix == ".png"]
    assert {path.parts[0] for path in pictures} == drawn(case)


def drawn(case: ModuleCase) -> set[str]:
    """Names of the callbacks that draw such data."""
    names = {each.name for each in drawing() if isinstance(each, FlowCallback)}
    return names - ({"density"} if made(case)[1].event_shape != (2,) else set())


def metrics_of_uneven_shares_are_those_of_one_process(root: Path, case: ModuleCase) -> None:
    for action, stage in (("test", "test"), ("validate", "val")):
        one, two = left(root, f"{action}.pt")
        assert list(one) == list(two)
        assert {f"{stage}/loss", f"{stage}/{'nll' if made(case)[0].exact else 'elbo'}"} <= set(one)
        for name, value in one.items():
            # the Jacobian of labels is zero, and has no condition number
            near = {"rtol": 1e-5, "atol": 1e-5, "equal_nan": "jacobian" in name}
            torch.testing.assert_close(two[name], value, **near, msg=name)


def predictions_are_those_of_one_process_in_order(root: Path, case: ModuleCase) -> None:
    paths = [root / f"on {n}" / "predictions.npz" for n in (1, 2)]
    with np.load(paths[0]) as one, np.load(paths[1]) as two:
        assert {"latent", "log_prob" if made(case)[0].exact else "elbo"} <= set(one)
        assert set(one) == set(two)
        for name, value in one.items():
            assert len(value) == len(rows(case, "test")[0])
            np.testing.assert_allclose(value, two[name], rtol=1e-5, atol=1e-5)


PROOFS: list[Callable[[Path, ModuleCase], None]] = [
    both_ranks_end_with_the_same_weights,
    a_resumed_run_is_the_run,
    the_checkpoint_of_two_ranks_serves_one_process,
    two_ranks_learn_what_one_process_learns,
    rank_0_alone_writes_and_everything_once,
    two_ranks_draw_what_one_draws,
    metrics_of_uneven_shares_are_those_of_one_process,
    predictions_are_those_of_one_process_in_order,
]
