"""Flows that lose dimensions: that their densities are ones, and what their widths decide."""

import io
from functools import partial

import pytest
import torch
from flow_cases import SURJECTIVE_CASES as CASES
from flow_cases import splines
from jsonargparse import ArgumentParser

from lightning_flows.bases import ConditionalNormal, Density
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.recipe import build_factory, to_recipe
from lightning_flows.flows import NeuralSplineFlow, SurjectiveSplineFlow
from lightning_flows.transforms import LULinear, SplineCoupling, SplineFunnel
from proofs import density
from proofs.common import make, near, same


@pytest.mark.parametrize("name", [n for n in CASES if n.endswith(("2, 1)", "mixture)", "flow)"))])
def test_is_a_density(name):
    density.weights_match_samples(make(CASES[name], strength=0.2))


def test_widths_decide():
    made = SurjectiveSplineFlow(64, widths=[64, 64, 32, 16])
    kinds = [type(t) for t in made.transform.transforms[1:]]
    assert kinds == [
        SplineCoupling, SplineCoupling, LULinear, SplineFunnel, LULinear, SplineFunnel,
    ]  # fmt: skip
    assert (made.event_shape, made.latent_shape, made.exact) == ((64,), (16,), True)
    assert SurjectiveSplineFlow((1, 3, 3)).latent_shape == (3,)
    bijective = SurjectiveSplineFlow(6, widths=[6, 6])
    assert bijective.transform.kind == "bijection"


def test_encodes_what_it_decoded():
    made = make(CASES["SurjectiveSplineFlow (3, 2, 2, 1)"])
    z = torch.randn(16, 1, dtype=torch.float64)
    near(made.encode(made.decode(z)), z)


@pytest.mark.parametrize("widths", [[], [3, 5], [4, 0], [3, 2, 3]])
def test_refuses_widths_that_rise(widths):
    with pytest.raises(ConfigError, match="data has 4 entries, so accepted are positive integers"):
        SurjectiveSplineFlow(4, widths=widths)


def test_recipe_rebuilds_the_density_of_what_is_dropped():
    factory = partial(splines, widths=[4, 2])
    built = build_factory(to_recipe(factory))(4)
    made = factory(4)
    stored = io.BytesIO()
    torch.save(made.state_dict(), stored)
    stored.seek(0)
    built.load_state_dict(torch.load(stored, weights_only=True))
    x = torch.randn(3, 4)
    same(built.log_prob(x), made.log_prob(x))


class Holder:
    """A place where the command line puts a flow."""

    def __init__(self, made: Density) -> None:
        self.made = made


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ConditionalNormal", ConditionalNormal),
        ("NeuralSplineFlow", NeuralSplineFlow),
    ],
)
def test_command_line_names_the_density(name, kind):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "holder")
    flow_options = {"event_shape": 4, "widths": [3], "density": f"lightning_flows.{name}"}
    given = {"class_path": "lightning_flows.SurjectiveSplineFlow", "init_args": flow_options}
    config = parser.parse_object({"holder": {"made": given}})
    made = parser.instantiate(config).holder.made
    assert isinstance(made.transform.transforms[-1].dropped.density, kind)
