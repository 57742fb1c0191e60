"""Do the tests notice when the rules of money are wrong? python -m bench.mutants [--jobs N]
[--only NUMBER …] [MODULE …]

Each mutant is one small change in one module: a comparison moved or turned round, a sum for a difference, a number one
more or less, a condition negated or a part of it left out, a returned value or a statement dropped. The module's tests
run on it, without those that need a node, a browser or PostgreSQL. One that they do not notice is printed: it wants a
test, or a reason in docs/mutation.md. Always the same mutants in the same order. The last line is one JSON object:
module -> [mutants, killed, of these by running out of time].

Not changed: words for people, type annotations, decorators, and `strict=` of zip, which only states what holds anyhow.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

TESTS = {
    "crowdfund.campaigns.lifecycle": ["campaigns/test_lifecycle.py", "campaigns/test_ledger.py"],
    "crowdfund.wallet.fees": ["wallet/test_fees.py", "campaigns/test_settlement.py"],
    "crowdfund.campaigns.ladder": ["campaigns/test_ladder.py"],
    "crowdfund.campaigns.settlement": ["campaigns/test_settlement.py", "campaigns/test_ladder.py"],
    "crowdfund.wallet.policy": ["wallet/test_policy.py", "wallet/test_cancelled_signer.py"],
    "crowdfund.campaigns.ledger": ["campaigns/test_ledger.py", "campaigns/test_books.py"],
    "crowdfund.campaigns.checks": ["campaigns/test_checks.py"],
    "crowdfund.campaigns.books": [
        "campaigns/test_books.py",
        "campaigns/test_attempts.py",
        "campaigns/test_settling.py",
        "campaigns/test_checks.py",
    ],
}
OPTIONS = ["-q", "-s", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
EXAMPLES = 20
USED = "_hypothesis_internal_use_settings"
OUT_OF_TIME = -signal.SIGPROF
BROKEN = 3

_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}

Change = Callable[[], object]


class Mutations(ast.NodeVisitor):
    """Every small change of a tree, as (line, words, function that makes it)."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str, Change]] = []

    def note(self, node: ast.AST, words: str, change: Change) -> None:
        self.found.append((getattr(node, "lineno", 0), words, change))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_all([*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)])
        self._removals(node.body)
        self._visit_all(node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_all([] if node.value is None else [node.value])

    def visit_JoinedStr(self, _node: ast.JoinedStr) -> None:
        return

    def visit_Raise(self, _node: ast.Raise) -> None:
        return

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, old in enumerate(node.ops):
            for new in _SWAPS.get(type(old), ()):
                put = functools.partial(node.ops.__setitem__, place, new())
                self.note(node, _swapped(node, old, new), put)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._swap_operator(node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._swap_operator(node)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.note(node, "and <-> or", functools.partial(setattr, node, "op", other))
        for place, part in enumerate(node.values):  # its neighbour said twice, as there must be two
            put = functools.partial(node.values.__setitem__, place, node.values[place - 1 if place else 1])
            self.note(node, f"without `{ast.unparse(part)}`", put)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        words, part = f"`{ast.unparse(node)}` turned round", node.operand
        if isinstance(node.op, ast.Not):
            self.note(node, words, functools.partial(setattr, node, "operand", ast.UnaryOp(ast.Not(), part)))
        if isinstance(node.op, ast.USub):
            self.note(node, words, functools.partial(setattr, node, "op", ast.UAdd()))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.note(node, f"{value} -> {not value}", functools.partial(setattr, node, "value", not value))
        elif isinstance(value, int):
            for other in (value - 1, value + 1):
                self.note(node, f"{value} -> {other}", functools.partial(setattr, node, "value", other))

    def visit_Tuple(self, node: ast.Tuple) -> None:
        if len(node.elts) > 1 and all(isinstance(e, ast.Constant) and isinstance(e.value, str) for e in node.elts):
            for place, element in enumerate(node.elts):
                self.note(element, f"without {ast.unparse(element)}", functools.partial(node.elts.pop, place))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if (other := _NAMES.get(node.id)) is not None:
            self.note(node, f"{node.id} -> {other}", functools.partial(setattr, node, "id", other))

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for place, test in enumerate(node.ifs):
            self.note(test, f"without `if {ast.unparse(test)}`", functools.partial(node.ifs.pop, place))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._negate(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.note(node, "returns None", functools.partial(setattr, node, "value", ast.Constant(None)))
        self.generic_visit(node)

    def _negate(self, node: ast.If | ast.IfExp | ast.While) -> None:
        test = node.test
        self.note(
            test, f"not ({ast.unparse(test)})", functools.partial(setattr, node, "test", ast.UnaryOp(ast.Not(), test))
        )
        self.generic_visit(node)

    def _swap_operator(self, node: ast.BinOp | ast.AugAssign) -> None:
        for new in _SWAPS.get(type(node.op), ()):
            self.note(node, _swapped(node, node.op, new), functools.partial(setattr, node, "op", new()))

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                self._removals(block)
        super().generic_visit(node)

    def _removals(self, block: list[ast.stmt]) -> None:
        for place, statement in enumerate(block):
            spoken = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, ast.Expr | ast.Raise | ast.AugAssign | ast.Continue | ast.Break) and not spoken:
                words = f"without `{ast.unparse(statement)}`"
                self.note(statement, words, functools.partial(block.__setitem__, place, ast.Pass()))


def _swapped(node: ast.AST, old: ast.AST, new: type[ast.AST]) -> str:
    return f"{type(old).__name__} -> {new.__name__} in `{ast.unparse(node)}`"


def mutants_of(source: str) -> int:
    """How many there are."""
    return len(_parsed(source)[1])


def mutant(source: str, number: int) -> tuple[int, str, CodeType]:
    """(line, what was changed, the changed module) of one of them."""
    tree, found = _parsed(source)
    line, words, change = found[number]
    change()
    return line, words, compile(ast.fix_missing_locations(tree), "<mutant>", "exec")


def _parsed(source: str) -> tuple[ast.Module, list[tuple[int, str, Change]]]:
    tree = ast.parse(source)
    seen = Mutations()
    seen.visit(tree)
    return tree, seen.found


class Judge:
    """Takes the place of pytest's loop: all is imported and collected once, and each mutant is a fork of that."""

    def __init__(self, module: str, jobs: int, only: Sequence[int]) -> None:
        self.module, self.jobs, self.only = module, jobs, only
        self.result = [0, 0, 0]
        self.limit_s = 0.0  # of computing, so that it does not matter what else the machine does

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Without the tests that need a node, a server or minutes."""
        items[:] = [
            item
            for item in items
            if "postgresql" not in item.name
            and item.get_closest_marker("long") is None
            and not {"node", "world"} & set(getattr(item, "fixturenames", ()))
        ]
        for item in items:
            fewer_examples(item)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all tests once without a change, then the quickest first on each mutant."""
        took: dict[pytest.Item, float] = {}
        for item in session.items:
            began = time.process_time()
            if not passes([item]):
                raise SystemExit(f"{item.nodeid} fails without any change.")
            took[item] = time.process_time() - began
        items = sorted(session.items, key=lambda item: took[item])
        self.limit_s = 10 + 3 * sum(took.values())
        source = path_of(self.module).read_text()
        wanted = list(self.only or range(mutants_of(source)))
        for number, code in self._outcomes(wanted, items):
            if code == BROKEN:
                raise SystemExit(f"Mutant {number} of {self.module} cannot be tried.")
            self.result[1] += code != 0
            self.result[2] += code == OUT_OF_TIME
            if code == 0:
                line, words, _ = mutant(source, number)
                print(f"\n{self.module}:{line} #{number} {words}", flush=True)
        self.result[0] = len(wanted)
        return True

    def _outcomes(self, wanted: Sequence[int], items: Sequence[pytest.Item]) -> Iterator[tuple[int, int]]:
        """(number, exit code) of every mutant, as they come."""
        running: dict[int, int] = {}
        waiting = list(wanted)
        while waiting or running:
            while waiting and len(running) < self.jobs:
                number = waiting.pop(0)
                running[self._start(number, items)] = number
            pid, status = os.wait()
            if pid in running:
                yield running.pop(pid), os.waitstatus_to_exitcode(status)

    def _start(self, number: int, items: Sequence[pytest.Item]) -> int:
        """The process id of a child that ends with 0 if all tests pass on this mutant."""
        pid = os.fork()
        if pid == 0:
            signal.setitimer(signal.ITIMER_PROF, self.limit_s)
            code = BROKEN
            try:
                made = mutant(path_of(self.module).read_text(), number)[2]
                code = 0 if change(self.module, made) and passes(items) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        return pid


def fewer_examples(item: pytest.Item) -> None:
    """What Hypothesis makes up on each mutant is little; a rule should not hang on luck."""
    for place, name in ((getattr(item, "obj", None), USED), (getattr(item, "cls", None), "settings")):
        asked = getattr(place, name, None)
        if isinstance(asked, settings):
            setattr(place, name, settings(asked, max_examples=min(asked.max_examples, EXAMPLES)))


def passes(items: Sequence[pytest.Item]) -> bool:
    """Do they all pass? Stops at the first that does not."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return False
    return True


def change(module: str, code: CodeType) -> bool:
    """Make an imported module the mutant, in place: whoever has imported a function or a number of it has the mutant's.

    What the mutant has in the same form stays, so that no two classes of one name come together. False if the mutant
    cannot even be imported.
    """
    real = sys.modules[module]
    made = ModuleType(module)
    made.__file__ = real.__file__
    sys.modules[module] = made  # dataclasses look there
    try:
        exec(code, made.__dict__)
    except Exception:  # whatever it is, nobody can start such a program
        return False
    sys.modules[module] = real
    for name, new in vars(made).items():
        old = vars(real).get(name)
        imported = isinstance(new, type | FunctionType) and new.__module__ != module
        if imported or name.startswith("__"):
            continue
        if isinstance(old, FunctionType):
            _change_function(old, new)
        elif isinstance(old, type):
            _change_class(old, new)
        elif repr(old) != repr(new):
            for each in [m for m in sys.modules.values() if vars(m).get(name) is old]:  # getattr would import more
                setattr(each, name, new)
    return True


def _change_class(old: type, new: type) -> None:
    for name, value in vars(new).items():
        had = vars(old).get(name)
        if isinstance(had, property):
            _change_function(had.fget, value.fget)
        elif isinstance(had, FunctionType):
            _change_function(had, value)


def _change_function(old: Any, new: Any) -> None:
    if old.__closure__ is None:  # else it is of dataclasses' making, and only its defaults can differ
        old.__code__ = new.__code__
    if repr(old.__defaults__) != repr(new.__defaults__):
        old.__defaults__ = new.__defaults__
    if repr(old.__kwdefaults__) != repr(new.__kwdefaults__):
        old.__kwdefaults__ = new.__kwdefaults__


def path_of(module: str) -> Path:
    """Its source file."""
    return Path(module.replace(".", "/") + ".py")


def judge(module: str, jobs: int, only: Sequence[int] = ()) -> list[int]:
    """Run all mutants of a module, or `only` some, and print those that no test has noticed."""
    # Without shrinking: it is enough that something fails.
    settings.register_profile("quick", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)
    settings.load_profile("quick")
    judging = Judge(module, jobs, only)
    pytest.main([*OPTIONS, *(f"tests/{name}" for name in TESTS[module])], plugins=[judging])
    return judging.result


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(prog="bench.mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, nargs="+", default=[], help="the numbers that it has printed")
    parser.add_argument("modules", nargs="*", default=list(TESTS), choices=list(TESTS), metavar="MODULE")
    args = parser.parse_args()
    print(json.dumps({module: judge(module, args.jobs, args.only) for module in args.modules}))


if __name__ == "__main__":
    main()
