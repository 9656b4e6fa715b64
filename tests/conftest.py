import pytest

pytest.register_assert_rewrite(
    *(
        f"proofs.{name}"
        for name in ("common", "contract", "density", "flow", "likelihood", "torch_calls")
    )
)
