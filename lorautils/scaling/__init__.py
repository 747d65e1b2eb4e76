"""What a training step holds and costs: the byte ledger, and LoRA layers that compute faster. Notebooks 12 and 13."""
