"""A penalty of one's own."""

from lightning_flows import Penalty
from lightning_flows.jacobians import value_and_jacobian


class EqualLengths(Penalty):
    """Variance of log‖J_k‖ over the columns of the decoder's Jacobian: 0 where all are as long."""

    name = "equal_lengths"

    def __call__(self, encode, decode, x, embedded):
        _, j = value_and_jacobian(decode, embedded.u)
        return j.norm(dim=1).log().var(1, correction=0)
