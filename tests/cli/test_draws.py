"""A conditional density of a table of one's own, from the command line alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lightning_flows
from lightning_flows import cli
from lightning_flows.callbacks.drawing.isolation import evaluation, seeded
from lightning_flows.cli import commands

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


def mean_and_std(c):
    return 100 + 10 * np.sin(c), 10 * (0.1 + 0.2 * np.abs(c))


def table(n, seed=0):
    """y given c, in units far from 1; c is uniform on ±3, in thousandths."""
    random = np.random.default_rng(seed)
    c = random.uniform(-3, 3, n)
    mean, std = mean_and_std(c)
    return pd.DataFrame({"c": 1000 * c, "y": mean + std * random.normal(size=n)})


def fit(folder, frame, *options):
    """Train in a folder; its last checkpoint."""
    frame.to_csv(folder / "my.csv", index=False)
    arguments = [
        "fit",
        "--model=DensityModule",
        "--data=Arrays",
        f"--data.path={folder}/my.csv",
        "--seed_everything=1",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={folder}",
        *options,
    ]
    cli.main(arguments)
    (checkpoint,) = folder.glob("runs/*/checkpoints/last.ckpt")
    return checkpoint


SMALL = ["--model.flow=RealNVP", "--model.flow.layers=2", "--model.flow.hidden=[8]"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A checkpoint of two columns given a category and a number, hardly trained."""
    frame = table(200).assign(kind=["a", "b"] * 100, w=np.random.default_rng(1).normal(size=200))
    options = [
        "--data.context=[kind, c]", "--data.categorical=[kind]", "--trainer.max_epochs=1",
    ]  # fmt: skip
    return fit(tmp_path_factory.mktemp("mixed"), frame, *SMALL, *options)


def said(args, capsys):
    """The one sentence of a command that fails."""
    with pytest.raises(SystemExit) as stop:
        commands.main(list(map(str, args)))
    captured = capsys.readouterr()
    assert stop.value.code == 1
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in captured.err
    return line


def check_conditional(folder, *options, rows, n, error):
    """Means and deviations of what is drawn, against those that are known.

    `error` is what training may leave, in standard deviations of y given c; beside it stand four
    standard errors of the draws.
    """
    checkpoint = fit(folder, table(rows), "--data.context=[c]", *options)
    given = np.array([-2.5, -1.0, 0.5, 2.0])
    pd.DataFrame({"note": ["p", "q", "r", "s"], "c": 1000 * given}).to_csv("new.csv", index=False)
    arguments = ["sample", f"--ckpt_path={checkpoint}", "--context=new.csv", f"-n={n}"]
    commands.main([*arguments, "--out=drawn.csv"])
    drawn = pd.read_csv("drawn.csv")
    assert [*drawn.columns] == ["y", "c"]
    np.testing.assert_allclose(drawn["c"], np.repeat(1000 * given, n))
    y = drawn["y"].to_numpy().reshape(4, n)
    mean, std = mean_and_std(given)
    np.testing.assert_array_less(np.abs(y.mean(1) - mean) / std, error + 4 / n**0.5)
    np.testing.assert_array_less(np.abs(y.std(1) / std - 1), error + 4 / (2 * n) ** 0.5)


def test_draws_have_the_conditional_mean_and_deviation(here):
    check_conditional(
        here,
        "--model.flow=RealNVP", "--model.flow.layers=2", "--model.flow.hidden=[32, 32]",
        "--model.flow.activation=silu",
        "--data.batch_size=128", "--model.optimizer=Adam", "--model.optimizer.lr=0.01",
        "--trainer.max_epochs=20", "--trainer.limit_val_batches=0",
        rows=2000, n=1000, error=0.25,
    )  # fmt: skip


@pytest.mark.slow
def test_draws_of_a_spline_flow_have_the_conditional_mean_and_deviation(here):
    check_conditional(
        here,
        "--model.flow=NeuralSplineFlow", "--model.flow.layers=2", "--model.flow.hidden=[64, 64]",
        "--data.batch_size=256", "--trainer.max_epochs=40",
        rows=20_000, n=20_000, error=0.12,
    )  # fmt: skip


def test_draws_are_those_of_the_model_row_by_row(mixed):
    pd.DataFrame({"c": [30.0, -1e3, 7], "z": "?", "kind": ["b", "a", "b"]}).to_csv(
        "new.csv", index=False
    )
    arguments = ["sample", f"--ckpt_path={mixed}", "--context=new.csv", "-n=5", "--seed=3"]
    for out in ("x.npz", "x.csv", "x.tsv", "x.parquet"):
        commands.main([*arguments, f"--out={out}", "--batch_size=15"])
    context = torch.tensor([[0, 1, 30.0], [1, 0, -1e3], [0, 1, 7]])
    module = lightning_flows.load(mixed)
    with evaluation(module), seeded(module.device, 3, 0):
        expected = module.sample(1, context.repeat_interleave(5, 0))[:, 0]
    with np.load("x.npz") as arrays:
        assert sorted(arrays) == ["context", "x"]
        np.testing.assert_array_equal(arrays["context"], context)
        assert arrays["x"].shape == (3, 5, 2)
        np.testing.assert_allclose(arrays["x"].reshape(15, 2), expected, rtol=1e-6)
    for frame in (
        pd.read_csv("x.csv"),
        pd.read_csv("x.tsv", sep="\t"),
        pd.read_parquet("x.parquet"),
    ):
        assert [*frame.columns] == ["y", "w", "kind", "c"]
        np.testing.assert_allclose(frame[["y", "w"]], expected, rtol=1e-6)
        assert frame["kind"].tolist() == ["b"] * 5 + ["a"] * 5 + ["b"] * 5
        np.testing.assert_allclose(frame["c"], np.repeat([30.0, -1e3, 7], 5))
    commands.main([*arguments, "--out=many.npz", "--batch_size=4"])  # batches across rows
    with np.load("many.npz") as arrays:
        assert len(np.unique(arrays["x"][..., 0])) == 15


def test_a_checkpoint_alone_goes_by_the_order_of_columns(mixed, capsys):
    Path("alone.ckpt").write_bytes(mixed.read_bytes())
    np.save("new.npy", np.array([[0, 1, 30.0], [1, 0, -1e3]]))
    commands.main(["sample", "--ckpt_path=alone.ckpt", "--context=new.npy", "-n=4", "--out=x.csv"])
    frame = pd.read_csv("x.csv")
    assert [*frame.columns] == ["x0", "x1", "context0", "context1", "context2"]
    np.testing.assert_allclose(frame["context2"], np.repeat([30.0, -1e3], 4))
    pd.DataFrame({"c": [1.0], "kind": ["a"]}).to_csv("new.csv", index=False)
    arguments = ["sample", "--ckpt_path=alone.ckpt", "--context=new.csv", "--out=y.csv"]
    assert "columns that are not numbers: kind" in said(arguments, capsys)


BAD_CONTEXT = {
    "column": ("kind,d\na,1\n", "has no column 'c'"),
    "missing": (
        "kind,c\na,\n",
        "holds NaN or infinite values, or some beyond 1e+150, first in row 0",
    ),
    "category": (
        "kind,c\nz,1\n",
        "Column kind of new.csv has categories that the training data has",
    ),
    "number": ("a,1,2\n", "new.csv has 3 columns; the context of the training data has 2: kind, c"),
    "empty": ("kind,c\n", "new.csv is empty"),
}


@pytest.mark.parametrize("name", BAD_CONTEXT)
def test_context_that_cannot_be_used(name, mixed, capsys):
    text, message = BAD_CONTEXT[name]
    Path("new.csv").write_text(text)
    arguments = ["sample", f"--ckpt_path={mixed}", "--context=new.csv", "--out=x.npz"]
    assert message in said(arguments, capsys)


def test_options_that_do_not_go_together(mixed, capsys):
    Path("new.csv").write_text("kind,c\na,1\n")
    arguments = ["sample", f"--ckpt_path={mixed}", "--out=x.npz"]
    line = said([*arguments, "--context=new.csv", "--label=1"], capsys)
    assert line == "error: label and context are both given; give one of them."
    for options in ([], ["--label=1"]):  # a class says nothing about real context
        line = said([*arguments, *options], capsys)
        assert "conditioned on context of shape (3,) and label is" in line
        assert "a file that --context names" in line
    assert "There is no file no.csv" in said([*arguments, "--context=no.csv"], capsys)


def test_the_data_of_the_run_is_needed_for_names_alone(here, capsys):
    checkpoint = fit(here, table(200), *SMALL, "--data.context=[c]", "--trainer.max_epochs=1")
    Path("new.csv").write_text("c\n1\n2\n")
    (here / "my.csv").unlink()
    arguments = ["sample", f"--ckpt_path={checkpoint}", "--context=new.csv", "--out=x.npz"]
    assert "which names the columns, cannot be read: Arrays: There is no file" in said(
        arguments, capsys
    )


def test_a_table_without_context(here, capsys):
    frame = table(200).assign(kind=["low", "high"] * 100)
    options = ["--model.flow=MixedFlow", "--model.flow.classes=[0, 0, 2]"]
    options += ["--data.categorical=[kind]", "--trainer.max_epochs=1"]
    checkpoint = fit(here, frame, *options)
    commands.main(["sample", f"--ckpt_path={checkpoint}", "-n=9", "--out=x.csv"])
    drawn = pd.read_csv("x.csv")
    assert [*drawn.columns] == ["c", "y", "kind"]
    assert len(drawn) == 9
    assert {*drawn["kind"]} <= {"low", "high"}
    Path("new.csv").write_text("c\n1\n")
    arguments = ["sample", f"--ckpt_path={checkpoint}", "--context=new.csv", "--out=y.csv"]
    line = said(arguments, capsys)
    assert "context was given, but the model is not conditioned on anything" in line
