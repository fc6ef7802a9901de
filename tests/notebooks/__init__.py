"""The notebooks run, and their exercises can be solved."""
