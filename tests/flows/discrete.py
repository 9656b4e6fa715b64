"""A joint law of two variables with three classes each, and the field that leads noise to it."""

import torch

from lightning_flows.nets import VectorField

JOINT = torch.tensor([[18, 1, 5], [1, 5, 1], [5, 3, 1]], dtype=torch.float64) / 40
ENTROPY = -(JOINT * JOINT.log()).sum().item()  # 1.7023 nats
LABELS = torch.cartesian_prod(torch.arange(3), torch.arange(3)).double()
PROBABILITIES = JOINT.flatten()


class Posterior(VectorField):
    """What an `AssignmentFlow` has to add to t T z, so that its field is E[Π₀e_y | z].

    p(y | z) ∝ p(y) N(z; t T Π₀e_y, I) ∝ p(y) exp(t T (z₁ of y₁ + z₂ of y₂)), and the logits of a
    variable are those of the sum over the other one.
    """

    def __init__(self, event_shape, *, horizon):
        super().__init__(event_shape)
        self.horizon = horizon

    def forward(self, x, t, context=None):
        time = self.horizon * t[:, None]
        first, second = (time * (1 + time) * x).chunk(2, 1)
        joint = JOINT.to(x).log() + first[:, :, None] + second[:, None]
        return torch.cat([joint.logsumexp(2) - first, joint.logsumexp(1) - second], 1)
