"""Recipes: plain data from which factories and parts are made again."""

import copy
import io
from collections import UserDict, UserList
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_flows.bases import Normal, NormalMixture
from lightning_flows.core.errors import ConfigError
from lightning_flows.core.recipe import Recorded, build_factory, build_part, is_recipe, to_recipe
from lightning_flows.flows import Flow, RealNVP
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
    again = build_part(recipe)  # a class of this module, which is loaded
    assert again.values == part.values
    assert to_recipe(again) == to_recipe(part)


@settings(max_examples=50, deadline=None)
@given(plain)
def test_plain_data_is_its_own_recipe(value):
    assert to_recipe(value) == value


def test_tuples_and_sizes_become_lists():
    assert to_recipe({"a": (1, (2, 3)), "b": torch.Size([4])}) == {"a": [1, [2, 3]], "b": [4]}


class Rows(Sequence):
    """A sequence that is no list, as configuration libraries make them."""

    def __init__(self, *rows):
        self.rows = rows

    def __getitem__(self, index):
        return self.rows[index]

    def __len__(self):
        return len(self.rows)


class Level(StrEnum):
    LOW = "low"


OTHER_TYPES = {
    "NumPy numbers": ([np.float64(0.5), np.float32(0.5), np.int64(2), np.bool_(True)],
                      [0.5, 0.5, 2, True]),
    "NumPy string": (np.str_("elu"), "elu"),
    "array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "array of floats": (np.array([0.5, 2.0], np.float32), [0.5, 2.0]),
    "array of no dimensions": (np.array(3), 3),
    "sequences": (Rows(1, Rows(2, 3)), [1, [2, 3]]),
    "lists of another class": (UserList([1, UserList([2])]), [1, [2]]),
    "mapping": (UserDict(a=UserList([np.int32(1)])), {"a": [1]}),
    "range": (range(3), [0, 1, 2]),
    "path": (Path("data/x.npy"), "data/x.npy"),
    "enumeration": ([Level.LOW, IntEnum("Size", ["ONE"]).ONE], ["low", 1]),
}  # fmt: skip


def types(value):
    """Types of all that plain data consists of."""
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return {type(value)}.union(*map(types, inner))
    return {type(value)}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_numbers_sequences_and_paths_of_other_types_become_plain(name):
    value, expected = OTHER_TYPES[name]
    for recipe in (to_recipe(value), to_recipe(Options(1, second=value))["init_args"]["second"]):
        assert recipe == expected
        assert types(recipe) <= {bool, int, float, str, list, dict}
    stored = io.BytesIO()
    torch.save(to_recipe(value), stored)
    stored.seek(0)
    assert torch.load(stored, weights_only=True) == expected


def test_parts_and_factories_in_sequences_of_other_types():
    part = Chain(
        Rows(AffineCoupling(2, hidden=UserList([np.int64(4)])), Slice(2, 1, density=Normal))
    )
    recipe = to_recipe(part)
    coupling, cut = recipe["init_args"]["transforms"]
    assert coupling["init_args"]["hidden"] == [4]
    assert cut["init_args"]["density"]["factory"] is True
    again = build_part(recipe)
    assert to_recipe(again) == recipe
    factory = partial(RealNVP, layers=np.int64(1), hidden=np.array([4, 4]))
    assert to_recipe(factory)["init_args"] == {"layers": 1, "hidden": [4, 4]}
    assert build_factory(to_recipe(factory))(2).log_prob(torch.zeros(1, 2)).shape == (1,)


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


def _with_shape(recipe):
    return {**recipe, "init_args": {**recipe["init_args"], "event_shape": 2}}


def test_reads_what_jsonargparse_writes():
    recipe = {
        "class_path": "lightning_flows.RealNVP",
        "init_args": {"layers": 2},
        "dict_kwargs": {"hidden": [4]},
    }
    for flow in (build_factory(recipe)((2,)), build_part(_with_shape(recipe))):
        assert len(flow.transform.transforms) == 2
        widths = {layer.out_features for layer in flow.modules() if isinstance(layer, nn.Linear)}
        assert 4 in widths
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
        (b"bytes", "cannot be stored as plain data"),
        (np.array([object()]), "cannot be stored as plain data"),
        ({1, 2}, "cannot be stored as plain data"),
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
        "bytes",
        "array of objects",
        "set",
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
        ("no_such_package.Flow", "neither ours nor of a plugin, .* --trust no_such_package,"),
        ("lightning_flows.no_such_part.Flow", "cannot be imported: No module"),
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
