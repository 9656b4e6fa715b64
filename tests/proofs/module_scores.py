"""What every module is held to without a Trainer: data, context, rows, losses."""

import torch
from torch import Tensor

from lightning_flows import Chain
from lightning_flows.modules import FlowModule
from lightning_flows.transforms import Logit, Standardize
from proofs.common import Proofs, near
from proofs.module_case import ModuleCase, drawn, made, rows

PROOFS = Proofs()
DECODES = ("bijection", "generative surjection")  # without random numbers


def conditioned(case: ModuleCase) -> tuple[FlowModule, Tensor, Tensor]:
    """The module with three entries of context, data, and context of classes."""
    torch.manual_seed(0)
    x = rows(case)[0][:32]
    model = drawn(case.build(x.shape[1:], context_shape=3)).eval()
    return model, x, torch.eye(3)[torch.arange(32) % 3]


@PROOFS.add(when=lambda case: case.context)
def model_maps_are_encode_and_decode_in_their_parts(case: ModuleCase) -> None:
    """With preprocessing and with context, of whatever type: callbacks and commands take these."""
    model, x, context = conditioned(case)
    if model.exact:  # else noise is a hash of what encode is given
        model.preprocess = Standardize(x.shape[1:], minimum_scale=0.1)
        model.preprocess.fit(x)
    for dtype in (torch.float32, torch.float64, torch.int64):
        maps = model.model_maps(context.to(dtype))
        y = x if maps["to_model"] is None else maps["to_model"](x)
        z = maps["encode"](y)
        near(z, model.encode(x, context), 1e-5)
        if model.kind not in DECODES:
            continue
        again = maps["decode"](z)
        again = again if maps["from_model"] is None else maps["from_model"](again)
        near(again, model.decode(z, context), 1e-5)


@PROOFS.add(when=lambda case: case.context)
def data_of_another_type_is_taken(case: ModuleCase) -> None:
    model, x, context = conditioned(case)
    for dtype in (torch.float64, torch.int64, torch.uint8, torch.float16):
        other = (x.abs() if dtype == torch.uint8 else x).to(dtype)
        found = model.log_prob(other, context.to(dtype))
        near(found, model.log_prob(other.float(), context), 1e-5)
        assert model.encode(other, context.to(dtype)).dtype == torch.float32
        assert model.sample(2, context.to(dtype)).dtype == torch.float32
        assert model.training_loss(other, context.to(dtype))[0].shape == (32,)
    if model.kind in DECODES:
        z = model.encode(x, context)
        near(model.decode(z.double(), context), model.decode(z, context), 1e-6)


@PROOFS.add()
def double_precision_takes_single(case: ModuleCase) -> None:
    x, context = rows(case)
    model = drawn(made(case)[0]).double().eval()
    wide = None if context is None else context.double()
    found = model.log_prob(x, context)
    assert found.dtype == torch.float64
    near(found, model.log_prob(x.double(), wide), 1e-12)


@PROOFS.add()
def no_rows_have_no_scores(case: ModuleCase) -> None:
    x, context = rows(case)
    model = made(case)[0]
    none = None if context is None else context[:0]
    assert model.log_prob(x[:0], none).shape == (0,)
    assert {tuple(value.shape) for value in model.evaluate(x[:0], none).values()} == {(0,)}
    assert model.training_loss(x[:0], none)[0].shape == (0,)


@PROOFS.add()
def evaluation_draws_no_random_numbers(case: ModuleCase) -> None:
    """Noise and probes are a hash of the data, so a row has its figures in whatever batch."""
    x, context = rows(case)
    model = drawn(made(case)[0]).double().eval()
    state = torch.get_rng_state()
    with torch.no_grad():
        whole = model.evaluate(x, context)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(1)
        given = [None] * len(x) if context is None else context.split(7)
        parts = [model.evaluate(*pair) for pair in zip(x.split(7), given, strict=False)]
    for name, value in whole.items():
        assert value.shape == (len(x),)
        near(torch.cat([part[name] for part in parts]).double(), value.double(), 1e-7)


def standardized(x: Tensor) -> tuple[Standardize, Tensor]:
    part = Standardize(x.shape[1:])
    part.fit(x)
    return part, x


def curved(x: Tensor) -> tuple[Chain, Tensor]:
    last, x = Standardize(x.shape[1:]), x.sigmoid() * 0.9 + 0.05
    last.fit(x.logit())
    return Chain([Logit(x.shape[1:]), last]), x


@PROOFS.add(when=lambda case: case.objective)
def losses_of_training_and_validation_differ_by_a_constant(case: ModuleCase) -> None:
    data, context = rows(case)
    wide = None if context is None else context.double()
    for preprocess in (lambda x: (None, x), standardized, curved):
        part, x = preprocess(data.double())
        gaps = []
        for seed in (2, 3):
            torch.manual_seed(seed)
            model = case.build(x.shape[1:], None if wide is None else wide.shape[1:])
            model.noise, model.preprocess = 0.0, part
            model = drawn(model, seed).double().eval()  # noise is the same in both losses
            with model.noise_of(x):
                losses = model.training_loss(x, wide)[0].mean()
            gaps.append((losses - model.evaluate(x, wide)["loss"].mean()).detach())
        assert gaps[0].isfinite()
        near(gaps[0], gaps[1], 1e-7)
