import pytest

pytest.register_assert_rewrite("proofs.common", "proofs.transform", "proofs.density", "proofs.flow")
