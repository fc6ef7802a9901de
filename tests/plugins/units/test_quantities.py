"""Functions of torch on quantities: numbers of plain tensors, units that other base units confirm, refusals, each with a liar."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from gnet.errors import DegenerateInputError, UnitsError
from gnet.plugins.units import Quantity, Units
from gnet.plugins.units.functions import INSTEAD, POWERS, RULES, SAME_AS, ratio, total

SI = Units("kg", "m", "s")
SIZES = [3.0, 0.25, 7.0]  # of new base units in old ones
LENGTH, FORCE, BOTH = "m", "kg m s^-2", "kg m^2 s^-2"

# name -> the call on quantities of the units that follow, and the units of the result (None: a plain tensor).
CALLS = {
    "add": (lambda a, b: torch.add(a, b, alpha=2), (LENGTH, LENGTH), LENGTH),
    "sub": (lambda a, b: torch.sub(a, b), (LENGTH, LENGTH), LENGTH),
    "rsub": (lambda a, b: torch.rsub(a, b), (LENGTH, LENGTH), LENGTH),
    "maximum": (torch.maximum, (LENGTH, LENGTH), LENGTH),
    "minimum": (torch.minimum, (LENGTH, LENGTH), LENGTH),
    "hypot": (torch.hypot, (LENGTH, LENGTH), LENGTH),
    "where": (lambda a, b: torch.where(torch.eye(3) > 0, a, b), (FORCE, FORCE), FORCE),
    "clamp": (lambda a, b, c: torch.clamp(a, torch.minimum(b, c), max=torch.maximum(b, c)), (LENGTH,) * 3, LENGTH),
    "lerp": (lambda a, b: torch.lerp(a, b, 0.25), (LENGTH, LENGTH), LENGTH),
    "cat": (lambda a, b: torch.cat([a, b], dim=1), (FORCE, FORCE), FORCE),
    "stack": (lambda a, b: torch.stack((a, b)), (FORCE, FORCE), FORCE),
    "neg": (torch.neg, (LENGTH,), LENGTH),
    "abs": (torch.abs, (LENGTH,), LENGTH),
    "sum": (lambda a: torch.sum(a, 0, keepdim=True), (LENGTH,), LENGTH),
    "mean": (lambda a: torch.mean(a, dim=(0, 1)), (LENGTH,), LENGTH),
    "std": (torch.std, (LENGTH,), LENGTH),
    "cumsum": (lambda a: torch.cumsum(a, 1), (LENGTH,), LENGTH),
    "diff": (torch.diff, (LENGTH,), LENGTH),
    "amax": (lambda a: torch.amax(a, 0), (LENGTH,), LENGTH),
    "amin": (lambda a: torch.amin(a, 0), (LENGTH,), LENGTH),
    "quantile": (lambda a: torch.quantile(a, 0.3), (LENGTH,), LENGTH),
    "clone": (torch.clone, (FORCE,), FORCE),
    "detach": (torch.detach, (FORCE,), FORCE),
    "zeros_like": (torch.zeros_like, (FORCE,), FORCE),
    "reshape": (lambda a: torch.reshape(a, (9,)), (FORCE,), FORCE),
    "flatten": (torch.flatten, (FORCE,), FORCE),
    "squeeze": (lambda a: torch.squeeze(a[:, :1], 1), (FORCE,), FORCE),
    "unsqueeze": (lambda a: torch.unsqueeze(a, -1), (FORCE,), FORCE),
    "transpose": (lambda a: torch.transpose(a, 0, 1), (FORCE,), FORCE),
    "permute": (lambda a: torch.permute(a, (1, 0)), (FORCE,), FORCE),
    "movedim": (lambda a: torch.movedim(a, 0, 1), (FORCE,), FORCE),
    "broadcast_to": (lambda a: torch.broadcast_to(a, (2, *a.shape)), (FORCE,), FORCE),
    "roll": (lambda a: torch.roll(a, 1, 0), (FORCE,), FORCE),
    "flip": (lambda a: torch.flip(a, (0,)), (FORCE,), FORCE),
    "diagonal": (torch.diagonal, (FORCE,), FORCE),
    "gather": (lambda a: torch.gather(a, 1, torch.tensor([[2], [0], [1]])), (FORCE,), FORCE),
    "index_select": (lambda a: torch.index_select(a, 0, torch.tensor([2, 0])), (FORCE,), FORCE),
    "unbind": (torch.unbind, (FORCE,), FORCE),
    "split": (lambda a: torch.split(a, 2), (FORCE,), FORCE),
    "chunk": (lambda a: torch.chunk(a, 2), (FORCE,), FORCE),
    "norm": (torch.norm, (FORCE,), FORCE),
    "linalg_norm": (lambda a: torch.linalg.norm(a, dim=-1), (FORCE,), FORCE),
    "linalg_vector_norm": (lambda a: torch.linalg.vector_norm(a, 3, dim=0), (FORCE,), FORCE),
    "mul": (torch.mul, (LENGTH, FORCE), BOTH),
    "matmul": (torch.matmul, (LENGTH, FORCE), BOTH),
    "inner": (torch.inner, (LENGTH, FORCE), BOTH),
    "cross": (lambda a, b: torch.cross(a, b, dim=1), (LENGTH, FORCE), BOTH),
    "linalg_cross": (torch.linalg.cross, (LENGTH, FORCE), BOTH),
    "mm": (torch.mm, (LENGTH, FORCE), BOTH),
    "bmm": (lambda a, b: torch.bmm(a[None], b[None]), (LENGTH, FORCE), BOTH),
    "mv": (lambda a, b: torch.mv(a, b[0]), (LENGTH, FORCE), BOTH),
    "dot": (lambda a, b: torch.dot(a[0], b[0]), (LENGTH, FORCE), BOTH),
    "outer": (lambda a, b: torch.outer(a[0], b[0]), (LENGTH, FORCE), BOTH),
    "linalg_vecdot": (torch.linalg.vecdot, (LENGTH, FORCE), BOTH),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=1), (LENGTH, FORCE), BOTH),
    "einsum": (lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c), (LENGTH, FORCE, "s^2"), "kg m^2"),
    "div": (torch.div, (FORCE, LENGTH), "kg s^-2"),
    "var": (torch.var, (LENGTH,), "m^2"),
    "lt": (torch.lt, (FORCE, FORCE), None),
    "le": (torch.le, (FORCE, FORCE), None),
    "gt": (torch.gt, (FORCE, FORCE), None),
    "ge": (torch.ge, (FORCE, FORCE), None),
    "eq": (torch.eq, (FORCE, FORCE), None),
    "ne": (torch.ne, (FORCE, FORCE), None),
    "equal": (torch.equal, (FORCE, FORCE), None),
    "atan2": (torch.atan2, (FORCE, FORCE), None),
    "sign": (torch.sign, (FORCE,), None),
    "isnan": (torch.isnan, (FORCE,), None),
    "isinf": (torch.isinf, (FORCE,), None),
    "isfinite": (torch.isfinite, (FORCE,), None),
    "argmax": (torch.argmax, (FORCE,), None),
    "argmin": (lambda a: torch.argmin(a, 1), (FORCE,), None),
    "argsort": (torch.argsort, (FORCE,), None),
    "count_nonzero": (torch.count_nonzero, (FORCE,), None),
    "numel": (torch.numel, (FORCE,), None),
    "square": (torch.square, (FORCE,), "kg^2 m^2 s^-4"),
    "reciprocal": (torch.reciprocal, (FORCE,), "kg^-1 m^-1 s^2"),
    "sqrt": (lambda a: torch.sqrt(torch.abs(a)), ("m^2 s^-4",), "m s^-2"),
    "rsqrt": (lambda a: torch.rsqrt(torch.abs(a)), ("m^2 s^-4",), "m^-1 s^2"),
    "pow": (lambda a: torch.pow(a, 3), (FORCE,), "kg^3 m^3 s^-6"),
}


def drawn(units, rng):
    return [SI(torch.randn(3, 3, dtype=torch.float64, generator=rng), unit) for unit in units]


def parts(found):
    return list(found) if isinstance(found, list | tuple) else [found]


def holds(call, units, rng):
    """Whether the result in other units is the result of the inputs in other units."""
    given = drawn(units, rng)
    before, after = parts(call(*given)), parts(call(*(each.rescaled(SIZES) for each in given)))
    if isinstance(before[0], Quantity):
        before, after = [each.rescaled(SIZES).x for each in before], [each.x for each in after]
    return all(
        torch.allclose(torch.as_tensor(a).double(), torch.as_tensor(b).double()) for a, b in zip(before, after, strict=True)
    )


def test_every_function_with_a_rule_is_tested():
    assert set(CALLS) == {*RULES, *POWERS, "pow"}


@pytest.mark.parametrize("name", CALLS)
def test_numbers_are_those_of_plain_tensors_and_units_are_right(name, rng):
    call, units, expected = CALLS[name]
    given = drawn(units, rng)
    found, plain = parts(call(*given)), parts(call(*(each.x for each in given)))
    for mine, theirs in zip(found, plain, strict=True):
        assert isinstance(mine, Quantity) == (expected is not None)
        if expected is not None:
            assert mine.unit == expected
            torch.testing.assert_close(mine.x, theirs)
        else:
            torch.testing.assert_close(torch.as_tensor(mine), torch.as_tensor(theirs))
    assert holds(call, units, rng)


@pytest.mark.parametrize("name", [name for name in CALLS if CALLS[name][2] is not None and name != "zeros_like"])
def test_a_rule_that_lies_about_units_is_found_out(name, rng, monkeypatch):
    call, units, _ = CALLS[name]
    if name in RULES:
        wrong = replace(RULES[name], units=lambda told, rule=RULES[name]: tuple(a + 1 for a in rule.units(told)))
        monkeypatch.setitem(RULES, name, wrong)
    elif name == "pow":
        call = lambda a: SI(torch.pow(a.x, 3), FORCE)  # noqa: E731
    else:
        monkeypatch.setitem(POWERS, name, POWERS[name] * (2 if POWERS[name].denominator == 1 else -1))
        call = lambda a, given=call: SI(CALLS[name][0](a.x), given(a).u)  # noqa: E731
    assert not holds(call, units, rng)


@pytest.mark.parametrize("function", [torch.exp, torch.round, torch.floor, torch.tanh, lambda x: torch.add(x, 1.0)])
def test_functions_of_plain_numbers_fail_the_law_that_those_with_rules_pass(function, rng):
    assert not holds(lambda x: SI(function(x.x), LENGTH), (LENGTH,), rng)


UNEQUAL = [name for name in CALLS if len(CALLS[name][1]) > 1 and len(set(CALLS[name][1])) == 1]


@pytest.mark.parametrize("name", UNEQUAL)
def test_unequal_units_are_refused(name, rng):
    call, units, _ = CALLS[name]
    with pytest.raises(UnitsError, match=rf"{'m' if units[0] == LENGTH else 'kg m s'}.* (\+|-|<|<=|>|>=|==|!=|beside) kg$"):
        call(*drawn((*units[:-1], "kg"), rng))
    plain = drawn(units, rng)
    plain[0] = plain[0].x  # no units are other units
    with pytest.raises(UnitsError, match="1"):
        call(*plain)


def test_unequal_is_all_that_ought_to_be_equal():
    assert len(UNEQUAL) == 19


@pytest.mark.parametrize("second", SAME_AS)
def test_second_names_are_the_same_functions(second, rng):
    first = SAME_AS[second]
    function = getattr(torch, second, None)
    if function is None:
        assert second == "truediv"  # of the operator
        return
    arguments = {"neg": 1, "abs": 1}.get(first, 2)
    given = drawn([FORCE] * arguments, rng)
    if first in ("movedim", "transpose"):
        given[1:] = [0, 1]
    if first == "cat":
        given = [given]
    expected = getattr(torch, first)(*given)
    found = function(*given)
    assert type(found) is type(expected)
    if isinstance(found, Quantity):
        assert found.unit == expected.unit
        found, expected = found.x, expected.x
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "call",
    [
        torch.exp,
        torch.floor,
        torch.ones_like,
        torch.nn.functional.relu,
        torch.nn.Linear(3, 3).double(),
        lambda q: torch.nn.functional.mse_loss(q, q),
        lambda q: torch.exp(input=q),
        lambda q: torch.zeros(3, 3).add_(q),
        lambda q: torch.addmm(q, q, q),
        lambda q: torch.add(q.x, q.x, alpha=q[0, 0]),
        lambda q: torch.ones(3, 3) // q,
        lambda q: 2.0**q,
        lambda q: torch.pow(2.0, q),
        lambda q: q**q,
        lambda q: torch.where(q, q, q),
    ],
)
def test_other_functions_take_pure_numbers(call, rng):
    with pytest.raises(UnitsError, match=r"takes? pure numbers, got m; divide by something in m first$"):
        call(SI(torch.rand(3, 3, dtype=torch.float64, generator=rng), LENGTH))


@pytest.mark.parametrize("name", INSTEAD)
def test_refusals_name_what_does(name):
    with pytest.raises(UnitsError, match=f"^{name} takes pure numbers, got m; take {INSTEAD[name]}$".replace("*", r"\*")):
        getattr(torch, name)(*[SI(torch.ones(3), LENGTH)] * (2 if name == "cosine_similarity" else 1))


def test_why_cosines_are_refused():
    """In nanometres the same two vectors have another one."""
    a, b = torch.tensor([[1e-9, 0.0], [1e-9, 1e-9]])
    assert torch.cosine_similarity(a, b, 0) < 0.02 and torch.cosine_similarity(1e9 * a, 1e9 * b, 0) > 0.7


def test_powers_of_pure_numbers_are_not_rounded():
    q = SI(torch.tensor([2.0], dtype=torch.float64), LENGTH)
    one = q / SI(torch.tensor([1.0], dtype=torch.float64), LENGTH)
    torch.testing.assert_close((one**0.12345).x, one.x**0.12345, rtol=1e-14, atol=0)
    assert (q**2).unit == "m^2"


def test_pure_numbers_go_anywhere(rng):
    q = SI(torch.rand(3, 3, dtype=torch.float64, generator=rng), LENGTH)
    one = q / q[0, 0]
    assert torch.equal(torch.exp(input=one), torch.exp(one.x))
    assert torch.equal(2.0**one, 2.0**one.x)
    assert torch.equal(torch.pow(2.0, one), 2.0**one.x)
    assert torch.equal((one**one).x, one.x**one.x)
    assert torch.equal((q ** torch.tensor(2.0)).x, q.x**2)
    assert torch.equal((one ** torch.tensor([1.0, 2.0, 3.0])).x, one.x ** torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(torch.add(one, 1.0).x, one.x + 1)
    assert torch.equal(torch.stack([one, torch.ones(3, 3).double()]).x[0], one.x)


def test_operators_with_numbers_and_arrays():
    q = SI(torch.tensor([1.0, 2.0], dtype=torch.float64), LENGTH)
    array = np.array([3.0, 4.0])
    for product in (array * q, q * array, q * torch.tensor([3.0, 4.0])):
        assert (product.unit, product.x.tolist()) == ("m", [3.0, 8.0])
    for quotient in (array / q, np.float64(6.0) / q):
        assert quotient.unit == "m^-1"
    assert (array @ q).x.item() == (q @ array).x.item() == 11.0
    assert (q != q[:1]).tolist() == [False, True]
    assert (q == q).all() and not (q < q).any() and (q >= q).all()
    for other in (lambda: q + "a", lambda: None * q, lambda: [1.0] @ q, lambda: q < "a"):
        with pytest.raises(TypeError, match=r"unsupported operand|not supported"):
            other()
    assert (q == None) is False  # noqa: E711 - no units to compare
    with pytest.raises(TypeError, match="unhashable"):
        hash(q)
    with pytest.raises(UnitsError, match=r"^1 - m$"):
        1.0 - q
    with pytest.raises(UnitsError, match=r"^1 < m$"):
        torch.ones(2) < q  # noqa: B015


def test_other_systems_and_settings_are_refused():
    q, other = SI(torch.ones(2), LENGTH), Units("m")(torch.ones(2), "m")
    for call in (torch.mul, torch.add, lambda a, b: torch.cat([a, b]), lambda a, b: torch.einsum("i,i->", a, b)):
        with pytest.raises(UnitsError, match=r"^base units kg, m, s and m$"):
            call(q, other)
    with pytest.raises(UnitsError, match="what add writes to out= would have no units"):
        torch.add(q, q, out=torch.ones(2))
    with pytest.raises(UnitsError, match="expected equal units where a quotient is rounded, got m over kg"):
        torch.div(q, SI(torch.ones(2), "kg"), rounding_mode="floor")
    assert torch.div(3.5 * q, 2 * q, rounding_mode="floor").number().tolist() == [1.0, 1.0]
    for call in (lambda: torch.norm(q, p=0), lambda: torch.linalg.norm(q, 0), lambda: torch.linalg.vector_norm(q, ord=0)):
        with pytest.raises(UnitsError, match="expected a norm of an order above 0"):
            call()
    with pytest.raises(UnitsError, match=r"expected one power of what is in m, got powers of shape \(2,\)"):
        q ** torch.ones(2)
    with pytest.raises(UnitsError, match=r"\(m\)\^\(1/2\) has the fractional exponent 1/2; power\(p, rational=True\)"):
        torch.sqrt(q)
    for call in (torch.reciprocal, lambda x: torch.div(q, x), lambda x: 1.0 / x, lambda x: x**-1):
        with pytest.raises(DegenerateInputError, match="expected no zero under a negative exponent"):
            call(SI(torch.tensor([1.0, 0.0]), LENGTH))
    with pytest.raises(DegenerateInputError, match="expected no negative number under the power 1/2, got -4"):
        torch.sqrt(SI(torch.tensor([-4.0]), "m^2"))


def test_exponents_are_exact():
    assert SI(2.0, (Fraction(1, 1009), 0, 0)).u[0] == Fraction(1, 1009)
    assert SI(8.0, "m^3").power(np.float32(1 / 3)).u == (0, 1, 0)
    assert SI(8.0, (0, 1 / 3, 0)).u == (0, Fraction(1, 3), 0)


def test_gradients_go_through():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    torch.einsum("i,i->", SI(x, "m"), SI(x, "kg")).x.backward()
    assert x.grad.tolist() == [2.0, 4.0]


PAIRS = [name for name, rule in RULES.items() if rule.operands and len(rule.operands) == 2]
SHAPES = {"bmm": ((2, 3, 3),) * 2, "mv": ((3, 3), (3,)), "dot": ((3,), (3,)), "outer": ((3,), (3,))}
BESIDE = {"cross": {"dim": -1}, "where": {"condition": torch.eye(3) > 0}, "lerp": {"weight": 0.25}, "tensordot": {"dims": 1}}


def by_name(name):
    kind, _, rest = name.partition("_")
    return getattr(torch.linalg, rest) if kind == "linalg" else getattr(torch, name)


@pytest.mark.parametrize("name", PAIRS)
def test_names_may_come_in_any_order(name, rng):
    first, second = RULES[name].operands
    units = (FORCE, LENGTH) if RULES[name].units in (total, ratio) else (LENGTH, LENGTH)
    shapes = SHAPES.get(name, ((3, 3), (3, 3)))
    a, b = (SI(torch.rand(shape, generator=rng) + 0.5, unit) for shape, unit in zip(shapes, units, strict=True))
    expected, found = (by_name(name)(**named, **BESIDE.get(name, {})) for named in ({first: a, second: b}, {second: b, first: a}))
    if isinstance(expected, Quantity):
        assert found.unit == expected.unit
        expected, found = expected.x, found.x
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))
    if name == "div":
        assert by_name(name)(**{second: b, first: a}).unit == "kg s^-2"


def test_whole_numbers_become_floats_where_torch_has_none():
    lengths = SI(torch.tensor([3, 4]), "m")
    assert float((SI(2, "m") ** -1).x) == 0.5
    assert float(SI(9, "m^2").sqrt().x) == 3
    for found in (lengths.mean(), torch.mean(lengths), torch.mean(input=lengths), torch.quantile(lengths, 0.5)):
        assert (float(found.x), found.unit) == (3.5, "m")
    for found in (lengths.norm(), torch.linalg.vector_norm(x=lengths), torch.linalg.norm(lengths)):
        assert (float(found.x), found.unit) == (5.0, "m")
    assert (lengths**2).x.dtype == torch.int64


def test_formats_of_numbers_and_units():
    area = SI(torch.tensor([1.23456, 20.0]), "m^2")
    assert f"{area:.2f}".startswith("[1.23, 20.00] m")
    assert f"{SI(1.23456, '1'):.2f}" == "1.23 1"
    assert f"{SI(2.0, 'm')}".startswith("2. ")


def test_iteration_goes_over_the_first_axis():
    assert [each.unit for each in SI(torch.ones(2), "m")] == ["m", "m"]
    with pytest.raises(TypeError, match="0-d"):
        list(SI(2.0, "m"))


# --- texts and pint ---


@pytest.mark.parametrize("text", ["m^1/2", "s^-1/2", "kg m**3 / 2"])
def test_fractions_without_brackets_are_refused(text):
    with pytest.raises(UnitsError, match="can be read in two ways"):
        SI.parse(text)
    assert SI.parse("m^(1/2)") == (1.0, (0, Fraction(1, 2), 0))
    assert SI.parse("m^-1/s") == (1.0, (0, -1, -1))


@pytest.mark.parametrize("text", ["m^(1/2", "m^1/2)", "(m"])
def test_brackets_are_closed(text):
    with pytest.raises(UnitsError):
        SI.parse(text)


KELVIN = Units("kg", "m", "s", "K")


@pytest.mark.parametrize("unit", ["degC", "degF", "dB", "dBm"])
def test_units_with_another_zero_are_refused(unit):
    pytest.importorskip("pint")
    with pytest.raises(UnitsError, match="no multiple of base units"):
        KELVIN(20.0, unit)
    with pytest.raises(UnitsError, match="no multiple of base units"):
        KELVIN(20.0, "K").value_in(unit)


def test_pint_converts_them():
    pint = pytest.importorskip("pint")
    registry = pint.get_application_registry()
    assert float(KELVIN.from_pint(registry.Quantity(20.0, "degC")).x) == pytest.approx(293.15)
    assert float(KELVIN.from_pint(registry.Quantity(20.0, "dB")).x) == pytest.approx(100.0)
    assert float(KELVIN(20.0, "delta_degC").x) == 20.0
    assert float(KELVIN(36.0, "km/hour").x) == pytest.approx(10.0)
