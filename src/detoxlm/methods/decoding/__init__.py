"""What all decoding methods share: the contract, the hosts that carry it, and the rule by which logits are lowered."""
