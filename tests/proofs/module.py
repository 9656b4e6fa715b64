"""What every module is held to; `module_ranks` has what two ranks are held to."""

from proofs import module_scores, module_settings, module_training

PROOFS = [*module_scores.PROOFS, *module_settings.PROOFS, *module_training.PROOFS]
