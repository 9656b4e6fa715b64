"""What the command line says of itself: help, and every option of a config."""

import inspect
import re
from pathlib import Path

import pytest
import yaml

from command_lines import CONFIGS
from lightning_flows import (
    DensityModule,
    FreeFormModule,
    RectangularModule,
    SurjectiveModule,
    cli,
)
from lightning_flows.cli.defaults import PICTURES
from lightning_flows.datamodules import Toy

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


def printed(args, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_print_config_shows_every_option_and_can_be_read_again(capsys):
    config = CONFIGS / "digits" / "rectangular.yaml"
    out = printed(["fit", "--config", str(config), "--print_config"], capsys)
    shown = yaml.safe_load(out)
    assert set(shown["model"]["init_args"]) >= {
        "flow",
        "volume",
        "reconstruction",
        "warmup",
        "optimizer",
    }
    assert shown["checkpoint"]["monitor"] == "val/loss"
    assert shown["seed_everything"] == 0
    assert shown["pictures"] is True
    assert shown["data"]["init_args"]["validation"] == 200
    Path("again.yaml").write_text(out)
    assert (
        yaml.safe_load(printed(["fit", "--config=again.yaml", "--print_config"], capsys)) == shown
    )


def arguments(family):
    """Names of all arguments; **options are those of the base class."""
    names = set()
    for base in family.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            return names - {"self"}
    raise AssertionError(family)


@pytest.mark.parametrize(
    ("option", "name", "family"),
    [("model", "DensityModule", DensityModule), ("model", "RectangularModule", RectangularModule),
     ("model", "FreeFormModule", FreeFormModule),
     ("model", "SurjectiveModule", SurjectiveModule),
     ("data", "Toy", Toy)],
)  # fmt: skip
def test_every_option_is_explained(option, name, family, capsys):
    out = printed(["fit", f"--{option}.help={name}"], capsys)
    for argument in arguments(family):
        if argument in ("event_shape", "context_shape"):  # the data decides
            continue
        block = re.search(rf"--{option}\.{argument}[ \n.](.*?)(?=\n  --|\Z)", out, re.DOTALL)
        assert block, argument
        text = re.sub(r"\(.*?(type|default).*", "", block[1], flags=re.DOTALL)
        assert len(re.findall(r"[a-z]{2,}", text)) > 2, argument


def test_help_knows_our_classes_by_name(capsys):
    out = " ".join(printed(["fit", "--help"], capsys).split())
    assert PICTURES in out
    for name in ("DensityModule", "RectangularModule", "Digits", "MNIST", "Toy", "Arrays"):
        assert name in out, name
    flows = " ".join(printed(["fit", "--model.help=DensityModule"], capsys).split())
    for name in ("RealNVP", "MAF", "NeuralSplineFlow", "NICE"):
        assert name in flows, name
