"""What all methods that change weights share: the change, written in place and taken back, and its adapter form."""
