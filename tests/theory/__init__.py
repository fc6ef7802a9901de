"""Closed forms against simulations and brute-force group sums that share no code with them."""
