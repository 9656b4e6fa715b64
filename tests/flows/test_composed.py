"""Flows composed of layers, from Python and from YAML."""

from functools import partial

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from lightning_flows import (
    MAF,
    ComposedFlow,
    FlowModule,
    NormalMixture,
    RealNVP,
    SurjectiveModule,
    Uniform,
    cli,  # noqa: F401, so that layers can be named shortly
)
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.core.recipe import build_factory, to_recipe
from lightning_flows.transforms import Abs, InverseOf, Sigmoid, Slice, Softplus, Squeeze

SMALL = partial(RealNVP, layers=2, hidden=(8,))


def test_shapes_follow_from_layers():
    flow = ComposedFlow((1, 4, 4), layers=[Squeeze, SMALL, partial(Slice, keep=6), SMALL])
    assert flow.latent_shape == (6,)
    assert flow.exact
    assert flow.transform.kind == "inference surjection"
    assert flow.sample(3).shape == (3, 1, 4, 4)


def test_it_is_the_chain_of_its_layers():
    torch.manual_seed(0)
    flow = ComposedFlow(2, layers=[Abs, partial(InverseOf, layer=Softplus), SMALL])
    x = torch.randn(5, 2)
    torch.testing.assert_close(flow.log_prob(x), flow.log_prob(-x))
    positive = Softplus(2)
    z, contribution = positive.decode(x.abs())
    torch.testing.assert_close(flow.encode(x), z)  # a coupling starts as the identity
    expected = flow.base.log_prob(z) - contribution - 2 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(flow.log_prob(x), expected)


def test_the_last_layer_may_bring_the_base():
    mixture = partial(NormalMixture, components=2)
    flow = ComposedFlow(4, layers=[partial(Slice, keep=2), partial(MAF, layers=1, base=mixture)])
    assert isinstance(flow.base, NormalMixture)
    assert isinstance(ComposedFlow(2, layers=[SMALL], base=mixture).base, NormalMixture)
    assert isinstance(ComposedFlow(2, layers=[SMALL, Sigmoid], base=Uniform).base, Uniform)
    with pytest.raises(ConfigError, match="NormalMixture, which would be dropped"):
        ComposedFlow(2, layers=[partial(SMALL, base=mixture), SMALL])
    with pytest.raises(ConfigError, match="NormalMixture, which would be dropped"):
        ComposedFlow(2, layers=[partial(SMALL, base=mixture)], base=Uniform)


def test_layers_that_take_context_get_it():
    flow = ComposedFlow(4, layers=[SMALL, Abs, partial(InverseOf, layer=Softplus)], context_shape=3)
    assert flow.context_shape == (3,)
    x, context = torch.randn(5, 4), torch.randn(5, 3)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    assert not torch.equal(flow.log_prob(x, context), flow.log_prob(x, context.roll(1, 0)))


def test_refusals():
    with pytest.raises(ConfigError, match="layers is empty"):
        ComposedFlow(2, layers=[])
    with pytest.raises(ConfigError, match="layers holds Uniform"):
        ComposedFlow(2, layers=[Uniform])
    with pytest.raises(ShapeError, match=r"put a bijection between them: Inverse\(Softplus"):
        ComposedFlow(2, layers=[Abs, SMALL])
    with pytest.raises(ShapeError, match="InverseOf needs a layer that keeps the shape"):
        ComposedFlow(2, layers=[partial(InverseOf, layer=partial(Slice, keep=1))])


YAML = """
model:
  class_path: SurjectiveModule
  init_args:
    event_shape: 4
    flow:
      class_path: ComposedFlow
      init_args:
        layers:
          - class_path: Abs
            init_args:
              density: {class_path: lightning_flows.bases.Bernoulli, init_args: {hidden: [4]}}
          - class_path: InverseOf
            init_args: {layer: Softplus}
          - class_path: RealNVP
            init_args: {layers: 2, hidden: [8]}
          - class_path: Slice
            init_args:
              keep: 2
              density: {class_path: MAF, init_args: {layers: 1, hidden: [8]}}
        base: {class_path: lightning_flows.bases.NormalMixture, init_args: {components: 2}}
"""


def test_from_yaml_to_a_recipe_and_back():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FlowModule, "model")
    model = parser.instantiate(parser.parse_object(yaml.safe_load(YAML))).model
    assert isinstance(model, SurjectiveModule)
    first, _, _, last = model.flow.transform.transforms
    assert type(first.density.density).__name__ == "Bernoulli"
    assert type(last.dropped.density).__name__ == "MAF"
    recipe = model.hparams["flow"]
    assert yaml.safe_load(yaml.safe_dump(recipe)) == recipe
    again = build_factory(recipe)((4,))
    again.load_state_dict(model.flow.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(again.log_prob(x), model.log_prob(x))
    assert to_recipe(build_factory(recipe)) == recipe
