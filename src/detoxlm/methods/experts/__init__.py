"""Full-size language models beside the target: a pair of experts (DExperts), or one that knows two classes (GeDi)."""
