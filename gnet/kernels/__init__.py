"""Functions on tensors, without weights of their own; one file for each form of the pair orbits."""
