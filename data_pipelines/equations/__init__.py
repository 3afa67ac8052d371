"""Solutions of partial differential equations, simulated: what operators learn from."""
