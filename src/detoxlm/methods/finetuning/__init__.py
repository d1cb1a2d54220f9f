"""Fine-tuning away from harmful text: the texts, the trainer, and what is watched while it trains."""
