"""Recipes: plain data from which factories and parts are made again."""

import copy
import io
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_flows.bases import Normal, NormalMixture
from lightning_flows.errors import ConfigError
from lightning_flows.flows import Flow, RealNVP
from lightning_flows.recipe import Recorded, build_factory, build_part, is_recipe, to_recipe
from lightning_flows.transforms import AffineCoupling, Chain, Inverse, Permutation, Sigmoid, Slice

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)


class Options(Recorded, nn.Module):
    """Takes whatever plain data there is."""

    def __init__(self, first=1, *, second=None, **rest):
        super().__init__()
        self.values = first, second, rest


@settings(max_examples=50, deadline=None)
@given(plain, plain, st.dictionaries(st.sampled_from(["u", "v"]), plain))
def test_part_round_trip(first, second, rest):
    part = Options(first, second=second, **rest)
    recipe = to_recipe(part)
    with pytest.MonkeyPatch.context() as patch:  # a test module cannot be imported by its name
        patch.setattr("lightning_flows.recipe._import", {recipe["class_path"]: Options}.get)
        again = build_part(recipe)
    assert again.values == part.values
    assert to_recipe(again) == to_recipe(part)


@settings(max_examples=50, deadline=None)
@given(plain)
def test_plain_data_is_its_own_recipe(value):
    assert to_recipe(value) == value


def test_tuples_and_sizes_become_lists():
    assert to_recipe({"a": (1, (2, 3)), "b": torch.Size([4])}) == {"a": [1, [2, 3]], "b": [4]}


def test_positional_and_nested_arguments():
    chain = Chain([AffineCoupling(4, hidden=(8,), swap=True), Inverse(Permutation(4, seed=2))])
    recipe = to_recipe(chain)
    assert recipe["class_path"] == "lightning_flows.Chain"
    coupling, inverse = recipe["init_args"]["transforms"]
    assert coupling["init_args"] == {"event_shape": 4, "hidden": [8], "swap": True}
    assert inverse["init_args"]["transform"]["init_args"] == {"event_shape": 4, "seed": 2}
    again = build_part(recipe)
    assert to_recipe(again) == recipe
    assert again.transforms[0].swap


@pytest.mark.parametrize(
    "density",
    [
        Normal,
        partial(RealNVP, layers=1, hidden=(4,), base=partial(NormalMixture, components=2)),
        Normal(2, learned=True),
        RealNVP(2, layers=1, hidden=(4,), base=NormalMixture),
        Flow(AffineCoupling(2, hidden=(4,)), NormalMixture(2)),
    ],
    ids=["class", "partial", "density", "flow made by factories", "flow made of parts"],
)
def test_parts_hold_densities_and_what_makes_them(density):
    part = Slice(4, 2, density=density)
    recipe = to_recipe(part)
    again = build_part(recipe)
    assert to_recipe(again) == recipe
    again.load_state_dict(part.state_dict())
    x = torch.randn(3, 4)
    torch.testing.assert_close(again.encode(x), part.encode(x), rtol=0, atol=0)


def test_factories_hold_parts():
    factory = partial(Flow, transform=Slice(4, 2, density=Normal), base=Normal(2, scale=2.0))
    recipe = to_recipe(factory)
    again = build_factory(recipe)
    assert to_recipe(again) == recipe
    x = torch.randn(3, 4)
    torch.testing.assert_close(again().log_prob(x), factory().log_prob(x), rtol=0, atol=0)


def test_recipe_survives_safe_loading():
    recipe = to_recipe(Chain([AffineCoupling(2), Sigmoid(2)]))
    stored = io.BytesIO()
    torch.save(recipe, stored)
    stored.seek(0)
    assert torch.load(stored, weights_only=True) == recipe


def test_recipe_survives_copy_and_changes_of_state():
    part = AffineCoupling(2, hidden=(4,))
    copied = copy.deepcopy(part).double().eval()
    assert to_recipe(copied) == to_recipe(part)


@pytest.mark.parametrize(
    "factory",
    [
        RealNVP,
        partial(RealNVP, layers=2, hidden=(8,)),
        partial(partial(RealNVP, layers=5, hidden=(4,)), layers=3),
        partial(RealNVP, layers=2, hidden=(4,), base=partial(NormalMixture, components=3)),
        partial(RealNVP, layers=1, base=NormalMixture),
    ],
)
def test_factory_round_trip(factory):
    recipe = to_recipe(factory)
    again = build_factory(recipe)
    assert to_recipe(again) == recipe
    torch.manual_seed(0)
    expected = factory((2,)).state_dict()
    torch.manual_seed(0)
    torch.testing.assert_close(again((2,)).state_dict(), expected, rtol=0, atol=0)


def test_reads_what_jsonargparse_writes():
    recipe = {
        "class_path": "lightning_flows.RealNVP",
        "init_args": {"layers": 2},
        "dict_kwargs": {"hidden": [4]},
    }
    assert len(build_factory(recipe)((2,)).transform.transforms) == 2
    assert build_factory({"class_path": "lightning_flows.RealNVP"}) is RealNVP
    assert is_recipe(recipe)
    assert not is_recipe("lightning_flows.RealNVP")


def _local():
    class Local(nn.Module):
        pass

    return Local


class Outer:
    class Inner(nn.Module):
        pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda shape: RealNVP(shape), "cannot be stored as plain data"),
        (partial(RealNVP, (2,)), "A partial must name its arguments"),
        (partial(lambda shape: RealNVP(shape)), "nothing can import it again"),
        (_local(), "nothing can import it again"),
        (Outer.Inner, "nothing can import it again"),
        (torch.zeros(2), "cannot be stored as plain data"),
        (nn.Linear(2, 2), "cannot be stored as plain data"),
        ({"deep": [object()]}, "cannot be stored as plain data"),
    ],
    ids=[
        "lambda",
        "partial with positions",
        "partial of a lambda",
        "local class",
        "inner class",
        "tensor",
        "module",
        "object",
    ],
)
def test_refuses_what_cannot_be_built_again(value, message):
    with pytest.raises(ConfigError, match=message):
        to_recipe(value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "lightning_flows.flows.Glob",
            "'lightning_flows.flows.Glob' cannot be imported",
        ),
        ("no_such_package.Flow", "cannot be imported"),
        ("RealNVP", "cannot be imported"),
        ("os.system", "is no flow, transform, network or optimizer"),
        ("builtins.eval", "is no flow, transform, network or optimizer"),
        ("subprocess.Popen", "is no flow, transform, network or optimizer"),
    ],
)
def test_refuses_to_call_just_anything(path, message):
    for build in (build_part, build_factory):
        with pytest.raises(ConfigError, match=message):
            build({"class_path": path, "init_args": {}})
