"""What free-form flows refuse of networks, and what they warn of."""

from functools import partial

import pytest
import torch
from torch import nn

from lightning_flows import FreeFormFlow
from lightning_flows.core.errors import ConfigError, ShapeError
from lightning_flows.nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder


class Net(nn.Module):
    """A linear network with one more layer in it."""

    def __init__(self, inputs, outputs, layer):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs), layer)

    def forward(self, x):
        return self.net(x)


def flow(layer=None, outputs=2, **options):
    encoder = {} if layer is None else {"encoder": lambda shape, d: Net(4, outputs, layer())}
    return FreeFormFlow(4, latent_features=2, **{**encoder, **options})


@pytest.mark.parametrize("layer", [lambda: nn.BatchNorm1d(2), lambda: nn.SyncBatchNorm(2)])
def test_batch_normalization_is_refused(layer):
    with pytest.raises(ConfigError, match=r"encoder\.net\.2 is \w*BatchNorm.*GroupNorm"):
        flow(layer)


@pytest.mark.parametrize(
    "layer", [lambda: nn.MultiheadAttention(2, 1), lambda: nn.TransformerEncoderLayer(2, 1)]
)
def test_fused_attention_is_refused(layer):
    with pytest.raises(ConfigError, match=r"encoder\.net\.2 is .*use lightning_flows\.nets\.Att"):
        flow(layer)


@pytest.mark.parametrize("layer", [nn.ReLU, nn.LeakyReLU])
def test_kinks_are_warned_of(layer):
    with pytest.warns(UserWarning, match=r"encoder\.net\.2 is .*ReLU, whose second derivative"):
        flow(layer)
    with pytest.warns(UserWarning, match=r"decoder\.net\.layers\.1 is ReLU"):
        flow(decoder=partial(MLPDecoder, hidden=(3,), activation="relu"))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"encoder gives \(3,\) for inputs of \(4,\); wanted is"):
        flow(nn.Identity, outputs=3)
    with pytest.raises(ShapeError, match=r"The encoder refuses inputs of shape \(4,\)"):
        flow(encoder=lambda shape, d: nn.Linear(5, d))
    with pytest.raises(ShapeError, match=r"decoder gives \(5,\) for inputs of \(2,\); wanted is"):
        flow(decoder=lambda shape, d: nn.Linear(d, 5))
    with pytest.raises(ShapeError, match=r"The decoder refuses inputs of shape \(2,\)"):
        flow(decoder=lambda shape, d: nn.Linear(3, 4))


@pytest.mark.parametrize("d", [0, 5])
def test_there_are_no_more_latents_than_dimensions(d):
    with pytest.raises(ConfigError, match=rf"latent_features is {d};.* accepted are 1 to 4"):
        FreeFormFlow(4, latent_features=d)


def test_sides_that_cannot_be_halved_are_refused():
    for net in (ConvEncoder, ConvDecoder):
        for shape in ((1, 6, 8), (8,)):
            with pytest.raises(ShapeError, match=r"2 halvings take .* multiples of 4"):
                net(shape, 2)


class Custom(torch.autograd.Function):
    """An identity that knows its backward only."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad


class OneWay(nn.Module):
    def forward(self, x):
        return Custom.apply(x)


def test_a_layer_without_forward_derivative_is_named():
    with pytest.raises(ConfigError, match=r"decoder\.net\.2 \(OneWay\) has no forward-mode.*jvp"):
        flow(decoder=lambda shape, d: Net(d, 4, OneWay()))


def test_networks_of_any_seed_start_as_each_others_transpose():
    torch.manual_seed(0)
    encoder = MLPEncoder((2, 3), 4)
    torch.manual_seed(1)
    decoder = MLPDecoder((2, 3), 4)
    assert torch.equal(encoder.skip.weight, decoder.skip.weight.T)


def test_convolutions_down_to_one_pixel_still_tell_images_apart():
    torch.manual_seed(0)
    for channels in ((4, 8), (4, 12), (6, 35)):
        images = torch.randn(3, 1, 4, 4)
        z = ConvEncoder((1, 4, 4), 2, channels=channels)(images)
        assert (z[0] - z[1:]).abs().min() > 1e-3
