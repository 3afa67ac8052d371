"""GELU, which formats have an operation for, in a program that has it as products and an error function.

gelu(x) = 0.5 x erfc(-x sqrt(.5))    as `jax.nn.gelu(x, approximate=False)` traces it
"""

from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Literal


def steps(jaxpr: Jaxpr) -> list[tuple[JaxprEqn, Any]]:
    """The operations of a program that are needed, each with None, or with x where it ends a gelu(x)."""
    made_by = {made: equation for equation in jaxpr.eqns for made in equation.outvars}
    needed, kept = set(jaxpr.outvars), []
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(equation.outvars):
            continue
        argument = _argument(equation, made_by)
        read = equation.invars if argument is None else [argument]
        needed.update(variable for variable in read if not isinstance(variable, Literal))
        kept.append((equation, argument))
    return kept[::-1]


def _argument(equation: JaxprEqn, made_by: dict[Any, JaxprEqn]) -> Any:
    """x, where the equation is (0.5 x) * erfc(-x * sqrt(.5)); else None."""

    def maker(variable: Any, name: str) -> JaxprEqn | None:
        found = None if isinstance(variable, Literal) else made_by.get(variable)
        return found if found is not None and found.primitive.name == name else None

    def scaled(variable: Any, factor: float) -> Any:
        """y, where the variable is y times the factor."""
        if (product := maker(variable, "mul")) is None:
            return None
        for one, other in (product.invars, product.invars[::-1]):
            if isinstance(one, Literal) and abs(float(one.val) - factor) < 1e-6:
                return other
        return None

    if equation.primitive.name != "mul":
        return None
    for half, rest in (equation.invars, equation.invars[::-1]):
        if (x := scaled(half, 0.5)) is None or (error := maker(rest, "erfc")) is None:
            continue
        negative = scaled(error.invars[0], 0.5**0.5)
        negated = maker(negative, "neg") if negative is not None else None
        if negated is not None and negated.invars[0] is x:
            return x
    return None
