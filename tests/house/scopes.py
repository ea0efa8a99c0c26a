"""What each name of a module is bound to, as Python's scopes have it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BUILTIN = -1
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


@dataclass
class Scope:
    """A module, class, function or comprehension, and the names that are bound in it."""

    number: int
    kind: str
    parts: tuple[str, ...] = ()
    parent: Scope | None = None
    bound: set[str] = field(default_factory=set)
    outside: dict[str, str] = field(default_factory=dict)
    origins: dict[str, tuple[str, str]] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)

    @property
    def is_seen_from_below(self) -> bool:
        return self.kind != "class"

    def is_same_shape(self, other: Scope) -> bool:
        return (self.number, self.kind) == (other.number, other.kind)


Binding = tuple[int, str]


@dataclass
class Names:
    """The scopes of a module, and the binding of each identifier that is a name."""

    scopes: list[Scope]
    bindings: dict[tuple[int, str], Binding]
    classes: dict[int, Scope]

    def binding_of(self, node: ast.AST, key: str) -> Binding | None:
        """None where the identifier is no name of a scope: an attribute, a keyword."""
        return self.bindings.get((id(node), key))

    def where_of(self, module: str, binding: Binding) -> list[str]:
        """How a rename map may call it."""
        number, name = binding
        scope = self.scopes[number]
        home = scope
        while home.kind == "comprehension" and home.parent is not None:
            home = home.parent
        path = ".".join((*home.parts, name))
        if home.kind != "function":
            return [f"{module}:{path}"]
        local = f"{module}:{'.'.join(home.parts)}/{name}"
        return [local, f"{module}:{path}"] if name in scope.functions else [local]

    def origin_of(self, binding: Binding) -> tuple[str, str] | None:
        """The module and the name in it that an imported name stands for; no name: a module."""
        number, name = binding
        return self.scopes[number].origins.get(name) if number != BUILTIN else None


class _Reader:
    """Collects scopes and uses in one walk; uses are resolved once all is bound."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.uses: list[tuple[Scope, int, str, str]] = []
        self.classes: dict[int, Scope] = {}

    def open_scope(self, kind: str, parts: tuple[str, ...], parent: Scope | None) -> Scope:
        scope = Scope(len(self.scopes), kind, parts, parent)
        self.scopes.append(scope)
        return scope

    def bind(self, scope: Scope, name: str | None, node: ast.AST, key: str) -> None:
        if name is not None:
            if name not in scope.outside:
                scope.bound.add(name)
            self.uses.append((scope, id(node), key, name))

    def visit_all(self, nodes: object, scope: Scope) -> None:
        for node in nodes if isinstance(nodes, list) else [nodes]:
            if isinstance(node, ast.AST):
                self.visit(node, scope)

    def visit(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            self.visit_function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.bind(scope, node.name, node, "name")
            scope.functions.add(node.name)
            self.visit_all([*node.decorator_list, *node.bases, *node.keywords], scope)
            inner = self.open_scope("class", (*scope.parts, node.name), scope)
            self.classes[id(node)] = inner
            self.visit_all(node.body, inner)
        elif isinstance(node, COMPREHENSIONS):
            self.visit_all(node.generators[0].iter, scope)
            inner = self.open_scope("comprehension", scope.parts, scope)
            for number, part in enumerate(node.generators):
                self.visit_all(part.target, inner)
                self.visit_all([*([part.iter] if number else []), *part.ifs], inner)
            results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            self.visit_all(results, inner)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.visit_import(node, scope)
        else:
            self.visit_plain(node, scope)

    def visit_plain(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                home = scope
                # A class body sees what it has bound by then, else what is around it.
                while home.kind == "class" and node.id not in home.bound and home.parent:
                    home = home.parent
                self.uses.append((home, id(node), "id", node.id))
            else:
                self.bind(scope, node.id, node, "id")
            return
        if isinstance(node, ast.NamedExpr):
            home = scope
            while home.kind == "comprehension" and home.parent is not None:
                home = home.parent
            self.bind(home, node.target.id, node.target, "id")
            self.visit_all(node.value, scope)
            return
        if isinstance(node, ast.Global | ast.Nonlocal):
            kind = "global" if isinstance(node, ast.Global) else "nonlocal"
            for number, name in enumerate(node.names):
                scope.outside[name] = kind
                scope.bound.discard(name)
                self.uses.append((scope, id(node), f"names{number}", name))
            return
        if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            self.bind(scope, node.name, node, "name")
        elif isinstance(node, ast.MatchMapping):
            self.bind(scope, node.rest, node, "rest")
        children = list(ast.iter_child_nodes(node))
        # Of an assignment the value comes first.
        for child in reversed(children) if isinstance(node, _ASSIGNMENTS) else children:
            self.visit(child, scope)

    def visit_function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope
    ) -> None:
        arguments, parts = node.args, scope.parts
        every = [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]
        parameters = [parameter for parameter in every if parameter is not None]
        self.visit_all([*arguments.defaults, *arguments.kw_defaults], scope)
        self.visit_all([parameter.annotation for parameter in parameters], scope)
        if not isinstance(node, ast.Lambda):
            self.bind(scope, node.name, node, "name")
            scope.functions.add(node.name)
            self.visit_all([*node.decorator_list, node.returns], scope)
            parts = (*parts, node.name)
        in_function = scope.kind == "function" or not isinstance(node, ast.Lambda)
        inner = self.open_scope("function" if in_function else "comprehension", parts, scope)
        for parameter in parameters:
            self.bind(inner, parameter.arg, parameter, "arg")
        self.visit_all(node.body, inner)

    def visit_import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                name, origin = alias.asname or alias.name, (str(node.module), alias.name)
            else:
                top = alias.name if alias.asname else alias.name.partition(".")[0]
                name, origin = alias.asname or top, (top, "")
            scope.origins[name] = origin
            if name not in scope.outside:
                scope.bound.add(name)


def read_names(tree: ast.Module) -> Names:
    """Scopes in the order in which they stand, so that two trees of one shape have the same."""
    reader = _Reader()
    reader.visit_all(tree.body, reader.open_scope("module", (), None))
    bindings = {
        (node, key): _resolve(reader.scopes, scope, name) for scope, node, key, name in reader.uses
    }
    return Names(reader.scopes, bindings, reader.classes)


def _resolve(scopes: list[Scope], scope: Scope, name: str) -> Binding:
    for outer in _outward(scope):
        kind = outer.outside.get(name)
        if kind == "global":
            return (0, name) if name in scopes[0].bound else (BUILTIN, name)
        visible = outer is scope or outer.is_seen_from_below
        if visible and kind is None and name in outer.bound:
            return (outer.number, name)
    return (BUILTIN, name)


def _outward(scope: Scope) -> Iterator[Scope]:
    current: Scope | None = scope
    while current is not None:
        yield current
        current = current.parent
