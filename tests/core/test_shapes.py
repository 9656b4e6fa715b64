"""Shapes and errors: what is refused at the door, and how it is said."""

from collections import UserList

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_flows.core import errors
from lightning_flows.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    FlowError,
    ShapeError,
)
from lightning_flows.core.shapes import as_shape, check_batch, size, sum_event

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_every_spelling_of_a_shape_is_the_same(entries):
    expected = tuple(entries)
    others = (np.array(entries), UserList(entries), [np.int32(n) for n in entries])
    for spelling in (entries, expected, torch.Size(entries), *others):
        assert as_shape(spelling) == expected
        assert {type(n) for n in as_shape(spelling)} == {int}
    assert as_shape(as_shape(entries)) == expected
    assert type(as_shape(torch.Size(entries))) is tuple
    assert size(expected) == torch.zeros(expected).numel()


def test_a_number_is_a_vector():
    for number in (3, np.int64(3), np.array(3)):
        assert as_shape(number) == (3,)


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        -1,
        (),
        [2, 0],
        (2.0,),
        (2, None),
        ["2"],
        "28",
        [[2]],
        None,
        True,
        [True],
        2.0,
        np.array([2.0]),
        np.array([[2]]),
    ],
)
def test_refuses_what_is_no_shape(wrong):
    with pytest.raises(ShapeError, match=r"^latent_shape is .*; accepted are positive integers"):
        as_shape(wrong, "latent_shape")


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 3))
def test_check_batch(entries, batch):
    shape = tuple(entries)
    check_batch(torch.zeros(batch, *shape), shape, "x")
    wrong = [(batch, *shape, 1), (batch, *shape[:-1], shape[-1] + 1), (batch, *shape[:-1])]
    for other in wrong:
        if other[1:] == shape:
            continue
        with pytest.raises(ShapeError, match=r"^x has shape \(.*\); expected is \(batch, .*\)\.$"):
            check_batch(torch.zeros(other), shape, "x")


def test_sum_event():
    values = torch.arange(12.0).reshape(2, 3, 2)
    assert sum_event(values).tolist() == [15.0, 51.0]
    assert sum_event(values[:1]).tolist() == [15.0]
    assert sum_event(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ShapeError, ValueError),
        (DataError, ValueError),
        (ConfigError, ValueError),
        (CheckpointError, RuntimeError),
    ],
)
def test_errors_are_also_the_builtin_that_fits(error, builtin):
    assert issubclass(error, FlowError)
    assert issubclass(error, builtin)
    assert error.__name__ in errors.__all__
