"""What the modules of a revision define: classes with their members, functions with parameters."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from house.scopes import BUILTIN, FUNCTIONS, Binding, Names, Scope, read_names


@dataclass
class ClassFacts:
    """A class: its bases as far as they are ours, and what an instance or the class has."""

    bases: list[str] = field(default_factory=list)
    members: set[str] = field(default_factory=set)


@dataclass
class Module:
    """A file, parsed; `tree` has all that it says."""

    path: str
    name: str
    tree: ast.Module
    names: Names


@dataclass
class Facts:
    """All modules of a revision by path, and by `module:name` what they define."""

    modules: dict[str, Module] = field(default_factory=dict)
    by_name: dict[str, Module] = field(default_factory=dict)
    module_names: set[str] = field(default_factory=set)
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    parameters: dict[str, set[str]] = field(default_factory=dict)

    def entity_of(self, module: Module, node: ast.AST) -> str | None:
        """`module:name` of what an expression stands for, or the name of a module; else None."""
        if isinstance(node, ast.Attribute):
            outer = self.entity_of(module, node.value)
            if outer is None:
                return None
            if ":" in outer:
                return f"{outer}.{node.attr}" if outer in self.classes else None
            return self.imported_entity(outer, node.attr)
        if not isinstance(node, ast.Name):
            return None
        binding = module.names.binding_of(node, "id")
        if binding is None or binding[0] == BUILTIN:
            return None
        origin = module.names.origin_of(binding)
        if origin is not None:
            return self.imported_entity(*origin)
        return self._entity_of_binding(module, binding)

    def _entity_of_binding(self, module: Module, binding: Binding) -> str | None:
        number, name = binding
        scope = module.names.scopes[number]
        if scope.kind == "module":
            return f"{module.name}:{name}"
        is_method = scope.parent is not None and scope.parent.kind == "class"
        if is_method and scope.parent is not None and name in {"self", "cls"}:
            return f"{module.name}:{'.'.join(scope.parent.parts)}"
        return None

    def imported_entity(self, source: str, name: str) -> str | None:
        """What a name of a module is, where it is defined; None where the module is not ours."""
        source = self.full_name_of(source)
        if not name:
            return source
        below = self.full_name_of(f"{source}.{name}")
        if below in self.module_names:
            return below
        if source not in self.by_name:
            return None
        origin = self.by_name[source].names.scopes[0].origins.get(name)
        if origin is not None and origin != (source, name):
            return self.imported_entity(*origin)
        return f"{source}:{name}"

    def full_name_of(self, name: str) -> str:
        """A module of the tests is imported without `tests.`."""
        return f"tests.{name}" if f"tests.{name}" in self.module_names else name

    def ancestors_of(self, where: str) -> set[str]:
        """A class and those of its bases that are ours."""
        reached, waiting = set(), [where]
        while waiting:
            current = waiting.pop()
            if current in self.classes and current not in reached:
                reached.add(current)
                waiting += self.classes[current].bases
        return reached

    def family_of(self, where: str) -> set[str]:
        """A class with its ancestors and descendants."""
        below = {other for other in self.classes if where in self.ancestors_of(other)}
        return below | self.ancestors_of(where)

    def members_of(self, where: str) -> set[str]:
        """What an instance of a class has, inherited or its own."""
        families = (self.classes[ancestor].members for ancestor in self.ancestors_of(where))
        return set().union(*families)


def name_module(path: str) -> str:
    """The dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def collect_facts(texts: dict[str, str]) -> Facts:
    """SystemExit where a file is no Python."""
    facts = Facts(module_names={name_module(path) for path in texts})
    for path, text in texts.items():
        try:
            tree = ast.parse(text)
        except SyntaxError as problem:
            raise SystemExit(f"{path}:{problem.lineno}: {problem.msg}") from None
        module = Module(path, name_module(path), tree, read_names(tree))
        facts.modules[path] = facts.by_name[module.name] = module
    for module in facts.modules.values():
        _collect_definitions(facts, module, module.tree, ())
    return facts


def _collect_definitions(
    facts: Facts, module: Module, node: ast.AST, parts: tuple[str, ...]
) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            inner = (*parts, child.name)
            arguments = child.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            key = f"{module.name}:{'.'.join(inner)}"
            facts.parameters.setdefault(key, set()).update(parameter.arg for parameter in every)
            _collect_definitions(facts, module, child, inner)
        elif isinstance(child, ast.ClassDef):
            inner = (*parts, child.name)
            scope = module.names.classes[id(child)]
            facts.classes[f"{module.name}:{'.'.join(inner)}"] = _class_facts(
                facts, module, child, scope
            )
            _collect_definitions(facts, module, child, inner)
        else:
            _collect_definitions(facts, module, child, parts)


def _class_facts(facts: Facts, module: Module, node: ast.ClassDef, scope: Scope) -> ClassFacts:
    bases = [facts.entity_of(module, base) for base in node.bases]
    stored = {
        below.attr
        for below in ast.walk(node)
        if isinstance(below, ast.Attribute)
        and isinstance(below.ctx, ast.Store)
        and isinstance(below.value, ast.Name)
        and below.value.id in {"self", "cls"}
    }
    return ClassFacts([base for base in bases if base], scope.bound | stored)
