"""The benchmarks compare like with like, and report what they found. No timing is asserted."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.data import Split, checkerboard, digits
from benchmarks.intervals import interval, paired, shown, spread, spread_name, unpaired
from benchmarks.memory import STATUS, memory_rows
from benchmarks.peers import ARCHITECTURES, Candidate, Sizes, candidates
from benchmarks.quality import Setting, fit
from benchmarks.rectangular import LoopOfJvps, step_loss
from benchmarks.report import Row, markdown, save
from benchmarks.timing import Timing, interleave
from lightning_flows.flows import PaddedFlow, RealNVP
from lightning_flows.objectives import ExactVolume


@pytest.mark.parametrize("features", [2, 6])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_candidates_differ_in_nothing_but_the_library(architecture: str, features: int) -> None:
    made = candidates(architecture, Sizes(features, layers=2, hidden=(8, 8)))
    assert list(made)[:2] == ["ours", "zuko"]
    x = torch.randn(5, features)
    for candidate in made.values():
        assert candidate.log_prob(x).shape == (5,)
        assert candidate.sample(3).shape == (3, features)
    assert len({peers.parameter_count(c.model) for c in made.values()}) == 1


def test_unequal_candidates_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(sizes: Sizes) -> Candidate:
        return ARCHITECTURES["spline coupling"]["ours"](Sizes(sizes.features, hidden=(9, 9)))

    monkeypatch.setitem(ARCHITECTURES["affine coupling"], "zuko", wide)
    with pytest.raises(RuntimeError, match="differs in its number of parameters"):
        candidates("affine coupling", Sizes(4, hidden=(8, 8)))


def test_the_loop_of_jvps_computes_what_our_exact_step_does() -> None:
    ambient = partial(RealNVP, layers=2, hidden=(8,), activation="tanh")
    flow = PaddedFlow(5, latent_features=3, ambient=ambient).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    results = []
    for volume in (ExactVolume(), LoopOfJvps()):
        loss = step_loss(flow, volume, x)
        gradients = torch.autograd.grad(loss, list(flow.parameters()))
        results.append((loss, *gradients))
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-10)


def test_candidates_take_turns_and_warm_up_does_not_count() -> None:
    order = []

    def watch(name: str) -> float:
        order.append(name)
        return float(len(order))

    watches = {name: partial(watch, name) for name in "ab"}
    timing = interleave(watches, rounds=2, warmup=1)
    assert order == list("ababab")
    assert timing.seconds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_ratio_is_the_median_of_quotients_within_rounds() -> None:
    timing = Timing({"ours": [1.0, 20.0, 3.0], "peer": [2.0, 10.0, 3.0]})
    ratio = timing.ratio("ours", "peer")
    assert (ratio.median, ratio.low, ratio.high) == (1.0, 0.75, 1.5)


def test_fit_reports_the_checkpoint_that_validated_best() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    # training pulls the weight up by about 1e-3 a step; validation is best at 0.005
    split = Split(torch.full((4, 1), 9.0), torch.full((4, 1), 0.005), torch.zeros(4, 1), offset=1.0)
    candidate = Candidate(
        model, lambda x: -(model.weight[0] - x[:, 0]).square(), lambda n: torch.zeros(n, 1)
    )
    nats, step = fit(candidate, split, Setting("", 20, 2, 20), seed=0)
    assert 4 <= step <= 7
    assert model.weight.item() == pytest.approx(0.005, abs=6e-4)
    assert nats == pytest.approx(1 - model.weight.item() ** 2)


def test_few_values_have_a_range_and_more_a_standard_error() -> None:
    assert spread([]) == "–"
    assert spread([2.0]) == "2"
    assert spread([2.0, 4.0]) == "3 (2 to 4)"
    assert spread([2.0, 3.0, 4.0]) == "3 ± 0.58"
    assert [spread_name(n) for n in (2, 3)] == [
        "2 seeds, mean and range",
        "3 seeds, mean ± standard error",
    ]


def test_differences_without_enough_values_have_no_interval() -> None:
    assert shown(unpaired([1.0], [3.0]), 4) == "-2"
    assert shown(paired([1.0, math.nan], [3.0, 2.0]), 4) == "-2"
    assert shown(unpaired([], [1.0]), 1) == "+nan"


def test_intervals_hold_for_all_looks_at_once() -> None:
    """Of 1000 tables of eight equal pairs, about one in twenty has an interval without zero."""
    generator = torch.Generator().manual_seed(0)
    missed = 0
    for _ in range(1000):
        ours, theirs = torch.randn(2, 8, 5, generator=generator).tolist()
        ends = [interval(paired(a, b), 8) for a, b in zip(ours, theirs, strict=True)]
        missed += any(low > 0 or high < 0 for low, high in ends)
        ends = [interval(unpaired(a, b), 8) for a, b in zip(ours, theirs, strict=True)]
        assert all(low < high for low, high in ends)
    assert missed == pytest.approx(50, abs=4 * (1000 * 0.05 * 0.95) ** 0.5)
    assert interval((1.0, 2.0, 4), 1) == pytest.approx((1 - 2 * 2.776445, 1 + 2 * 2.776445))


def test_data_is_what_it_is_said_to_be() -> None:
    x = checkerboard().test
    assert x.abs().max() <= 2
    cells = (x + 2).floor().long()
    assert ((cells[:, 0] + cells[:, 1]) % 2 == 0).all()
    split = digits()
    assert [len(part) for part in (split.train, split.val, split.test)] == [1250, 187, 360]
    assert split.bits_per_dim(74.7) == pytest.approx(2.404, abs=1e-3)


def test_files_hold_the_rows(tmp_path: Path) -> None:
    rows = [
        Row("a case", "1 ms", "zuko", "2 ms", "0.5", "≤ 0.8", True, {"ratio": 0.5}),
        Row("another", "3 ms", "zuko", "2 ms", "1.5", "≤ 0.8", False),
        Row("no goal", "3 ms", "zuko", "2 ms", "1.5"),
    ]
    lines = markdown("Title", {"fact": "it"}, rows).splitlines()
    assert lines[0] == "# Title"
    assert lines[-3:] == [
        "| a case | 1 ms | zuko | 2 ms | 0.5 | ≤ 0.8 | yes |",
        "| another | 3 ms | zuko | 2 ms | 1.5 | ≤ 0.8 | NO |",
        "| no goal | 3 ms | zuko | 2 ms | 1.5 |  |  |",
    ]
    save(tmp_path / "new" / "rows.json", "Title", {}, rows)
    stored = json.loads((tmp_path / "new" / "rows.json").read_text(encoding="utf-8"))
    assert [row["met"] for row in stored["rows"]] == [True, False, None]
    assert stored["rows"][0]["numbers"] == {"ratio": 0.5}


@pytest.mark.slow
def test_quick_run_covers_every_goal_and_judges_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.md"
    rows = main(["--quick", "--seeds", "1", "--out", str(out)])
    goals = [row.case.split(",")[0].split(":")[0] for row in rows if row.goal]
    assert goals == [
        "affine coupling",
        "affine coupling",
        "spline coupling",
        "spline autoregressive",
        "Trainer",
        *["rectangular"] * 4,
        *["free-form"] * 2,
        *["L_1.5 sphere"] * 2,
        "flowified 6-4-2",
        "funnels 6-6-3-2",
        *(["rectangular"] if STATUS.exists() else []),
        *["components"] * 3,
        "Jacobian",
        *(["components"] if STATUS.exists() else []),
    ]
    assert all(row.met is None for row in rows)
    assert len(out.read_text(encoding="utf-8").splitlines()) > len(rows)
    printed = capsys.readouterr().out
    assert "Speed" in printed
    assert "Quality" in printed


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say how much is resident")
def test_memory_is_measured_in_processes_of_their_own() -> None:
    (row,) = memory_rows(quick=True)
    numbers = [value for value in row.numbers.values() if isinstance(value, int | float)]
    assert set(row.numbers) == {"ratio", "bytes_ours", "bytes_peer"}
    assert min(numbers) >= 0
