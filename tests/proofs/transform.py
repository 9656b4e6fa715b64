"""What every transform is held to."""

from proofs import contract, likelihood, precision, torch_calls
from proofs.common import Proofs

PROOFS = Proofs([*contract.PROOFS, *precision.PROOFS, *likelihood.PROOFS, *torch_calls.PROOFS])
