"""The command line under configurations that nobody would write: one sentence, or a sound run.

The shipped configurations are changed at random, with a seed for each case: an option becomes null,
negative, huge, infinite, a word, a list or a class of another kind; keys go missing or are made up.
"""

import copy
import inspect
import random
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from command_lines import write_few_data
from lightning_flows import cli
from lightning_flows.cli import command_line

CONFIGS = Path(__file__).parents[2] / "configs"
SEEDS = sorted(
    path for path in CONFIGS.glob("*/*.yaml") if path.parent.name not in ("tables", "trainer")
)
QUICK, LONG = 40, 600
NOT_OPTIONS = {"self", "args", "event_shape", "context_shape", "params", "optimizer"}

WHOLE = (-(10**30), -1, 0, 1, 2, 10**30)
NUMBERS = (*WHOLE, -0.5, 1e-30, 0.5, 1e20, float("inf"), float("-inf"), float("nan"))
VALUES = (
    *NUMBERS, None, True, "", "many", "null", [], [0], [-4], [None], [10**20], ["many"], [0.5, 2],
    {}, {"many": 1}, "no.such.Class", "RealNVP", "torch.nn.Linear",
)  # fmt: skip
CLASSES = (
    *(name for part in command_line.PARTS for name in part.__all__ if name[0].isupper()),
    "lightning_flows.bases.Normal", "lightning_flows.nets.MLP", "lightning_flows.nets.ConvEncoder",
    "lightning_flows.transforms.Slice", "torch.optim.SGD", "torch.nn.Linear",
    "torch.optim.lr_scheduler.StepLR", "lightning.pytorch.callbacks.EarlyStopping",
    "lightning_flows.Nothing", "os.getcwd",
)  # fmt: skip


def nodes(tree, path=()):
    """Paths to all that a configuration holds."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield (*path, key)
        if isinstance(tree[key], dict | list):
            yield from nodes(tree[key], (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def resolved(class_path):
    """The class that a configuration names; None without one."""
    module, _, name = str(class_path).rpartition(".")
    places = [module] if module else [part.__name__ for part in command_line.PARTS]
    found = (getattr(sys.modules.get(place), name, None) for place in places)
    return next((target for target in found if isinstance(target, type)), None)


def options(class_path):
    """Arguments of a class that a configuration names, and what may be given for each."""
    names = {}
    for base in (resolved(class_path) or object).__mro__:  # **options are those of the base class
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name: str(p.annotation) for p in parameters if p.kind != p.VAR_KEYWORD}
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            break
    return {name: names[name] for name in names if name not in NOT_OPTIONS} or {"many": "int"}


def drawn(annotation, rng):
    """A value: mostly a number where numbers are taken, so that it passes the first door."""
    if rng.random() < 0.8 and "float" in annotation:
        return rng.choice(NUMBERS)
    return rng.choice(WHOLE if rng.random() < 0.8 and "int" in annotation else VALUES)


def another(class_path, rng):
    """A class: mostly one from beside the one that is there."""
    target = resolved(class_path)
    package = sys.modules.get(".".join((target or object).__module__.split(".")[:2]))
    beside = [name for name in getattr(package, "__all__", ()) if name[0].isupper()]
    if not beside or rng.random() < 0.3:
        return rng.choice(CLASSES)
    return f"{package.__name__}.{rng.choice(beside)}"


def changed(config, rng):
    """Change one thing; returns the configuration and what was done."""
    config = copy.deepcopy(config)
    paths = [*nodes(config)]
    classes = [path[:-1] for path in paths if path[-1] == "class_path"]
    kind = rng.choices(("value", "option", "class", "drop", "extra"), (8, 10, 3, 2, 1))[0]
    if kind in ("option", "extra"):  # an option that the configuration leaves to its default
        above, entry = rng.choice([(path, at(config, path)) for path in classes])
        entry["init_args"] = place = dict(entry.get("init_args") or {})
        known = {"many": "int"} if kind == "extra" else options(entry["class_path"])
        last = rng.choice(sorted(known))
        place[last] = drawn(known[last], rng)
    else:
        leaves = [
            path
            for path in paths
            if path[-1] != "class_path" and not isinstance(at(config, path), dict | list)
        ]
        *above, last = rng.choice({"value": leaves, "class": classes, "drop": paths}[kind])
        place = at(config, above)
        if kind == "class":
            place[last] = {"class_path": another(place[last]["class_path"], rng)}
        elif kind == "value":
            place[last] = drawn(type(place[last]).__name__, rng)
        else:
            del place[last]
    value = "gone" if kind == "drop" else repr(place[last])
    return config, f"{'.'.join(map(str, above))}.{last} = {value}"


def case(number):
    """A configuration, and what was changed in it."""
    rng = random.Random(number)
    path = rng.choice(SEEDS)
    config, changes = yaml.safe_load(path.read_text()), [f"{path.parent.name}/{path.stem}"]
    if "mnist" in path.parent.name:
        data = config["data"]
        config["data"] = data = {"class_path": data} if isinstance(data, str) else data
        data["init_args"] = data.get("init_args", {}) | {"validation": 64, "batch_size": 16}
    for _ in range(rng.choice((1, 1, 1, 2))):
        config, change = changed(config, rng)
        changes.append(change)
    return config, ", ".join(changes)


def outcome(config, capsys):
    """How a run of one step ends: "trained", "refused", or what is wrong about its end."""
    Path("case.yaml").write_text(yaml.safe_dump(config))
    quiet = ("fast_dev_run=1", "accelerator=cpu", "devices=1", "enable_progress_bar=false",
             "enable_model_summary=false")  # fmt: skip
    capsys.readouterr()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = cli.main(["fit", "--config=case.yaml", *(f"--trainer.{o}" for o in quiet)])
    except SystemExit as stop:
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        if stop.code not in (1, 2) or len(lines) != 1 or error.splitlines()[-1] != lines[0]:
            return f"status {stop.code} after {error[-500:]!r}"
        shown = [s for s in ("Namespace(", "Union[", "Traceback", "object at 0x") if s in error]
        return f"{shown} in {lines[0]}" if shown else "refused"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    loss = done.trainer.callback_metrics.get("train/loss", torch.zeros(()))
    weights = [p.isfinite().all() for p in done.model.parameters()]
    return "trained" if loss.isfinite() and all(weights) else "loss or weights are not finite"


@pytest.fixture
def few_data(here):
    write_few_data(here / "data")


def check(numbers, capsys):
    ends = {}
    for number in numbers:
        config, changes = case(number)
        ends[f"{number}: {changes}"] = outcome(config, capsys)
    wrong = {name: end for name, end in ends.items() if end not in ("trained", "refused")}
    assert not wrong, "\n".join(f"{name}\n    {end}" for name, end in wrong.items())
    counts = Counter(ends.values())  # else the changes are too wild or too tame to say anything
    assert min(counts["trained"], counts["refused"]) >= len(ends) / 10


def test_changed_configurations_train_or_are_refused_in_one_sentence(few_data, capsys):
    check(range(QUICK), capsys)


@pytest.mark.slow
def test_many_changed_configurations_train_or_are_refused_in_one_sentence(few_data, capsys):
    check(range(QUICK, QUICK + LONG), capsys)
