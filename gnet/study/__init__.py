"""The bias-variance study: train every symmetry for every seed and draw, and say which one is best.

The rooms: ``command`` reads the words after ``study``, ``plan`` turns them into trials, ``run`` trains them through a ``pool`` of
worker processes, one by one (``trials``) or at once (``stacks``), and a ``journal`` that survives being killed, ``baselines`` are
the models to beat, ``variance`` estimates bias^2 and variance, ``tables`` and ``plots`` show them. Nothing is imported here, so
that ``import gnet.study`` costs nothing.
"""
