"""LoRA, made clear."""
