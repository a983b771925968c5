"""What the wheel of one SGLang says of itself, read from its source by ast: nothing of it is imported or installed.

Its flags are declared in three ways: calls of add_argument (until 0.5.13), fields annotated with A[type, help] in
server_args.py (from 0.5.14 on), and such fields in files of their own (from 0.5.20 on), each beside some calls that are
left. What can only be known by running it, as choices that are put together at run time, is left out: a flag without
choices takes every value.
"""

import ast
import pathlib
import re


class Unknown(Exception):
    """An expression whose value only running it would tell."""


class Wheel:
    """The modules of an unpacked wheel."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.modules = {}

    def module(self, name):
        if name not in self.modules:
            path = self.folder / (name.replace(".", "/") + ".py")
            if not path.exists():
                path = self.folder / name.replace(".", "/") / "__init__.py"
            if not path.exists():
                raise Unknown(name)
            self.modules[name] = Module(self, name, ast.parse(path.read_text()))
        return self.modules[name]


class Module:
    def __init__(self, wheel, name, tree):
        self.wheel = wheel
        self.name = name
        self.tree = tree
        self.names = {}
        self.imports = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (node.module, alias.name)
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.names[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                self.names[node.target.id] = node.value
            elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self.names[node.name] = node

    def value(self, node, local=None):
        """What an expression comes to; lists for whatever can be gone through."""
        local = local or {}
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Set):
            return sorted(self.value(each, local) for each in node.elts)
        if isinstance(node, (ast.List, ast.Tuple)):
            values = []
            for each in node.elts:
                if isinstance(each, ast.Starred):
                    values += self.value(each.value, local)
                else:
                    values.append(self.value(each, local))
            return values
        if isinstance(node, ast.Dict):
            return [self.value(key, local) for key in node.keys]
        if isinstance(node, ast.JoinedStr):
            return "".join(str(self.value(part, local)) for part in node.values)
        if isinstance(node, ast.FormattedValue):
            return self.value(node.value, local)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.BitOr)):
            return self.value(node.left, local) + self.value(node.right, local)
        if isinstance(node, ast.Name):
            return local[node.id] if node.id in local else self.named(node.id)
        if isinstance(node, ast.Attribute):
            return self.attribute(node, local)
        if isinstance(node, ast.Call):
            return self.call(node, local)
        if isinstance(node, ast.ListComp) and len(node.generators) == 1 and not node.generators[0].ifs:
            target = node.generators[0].target
            if isinstance(target, ast.Name):
                each = items(self.value(node.generators[0].iter, local))
                return [self.value(node.elt, {**local, target.id: one}) for one in each]
        raise Unknown(ast.unparse(node))

    def named(self, name):
        if name in self.names:
            node = self.names[name]
            if isinstance(node, ast.ClassDef):
                return Class(self, node)
            return node if isinstance(node, ast.FunctionDef) else self.value(node)
        if name in self.imports:
            module, original = self.imports[name]
            return self.wheel.module(module).named(original)
        raise Unknown(name)

    def attribute(self, node, local):
        of = self.value(node.value, local)
        if isinstance(of, Class):
            return of.attribute(node.attr)
        if isinstance(of, Member) and node.attr in ("name", "value"):
            return getattr(of, node.attr)
        raise Unknown(ast.unparse(node))

    def call(self, node, local):
        name = ast.unparse(node.func)
        if name in ("list", "tuple", "set", "sorted", "frozenset") and len(node.args) == 1:
            values = items(self.value(node.args[0], local))
            return sorted(values) if name in ("set", "sorted", "frozenset") else values
        if isinstance(node.func, ast.Attribute) and not node.args and not node.keywords:
            if node.func.attr == "keys":
                return self.value(node.func.value, local)
            if node.func.attr == "lower":
                return self.value(node.func.value, local).lower()
            if node.func.attr == "choices":
                of = self.value(node.func.value, local)
                return of.call("choices") if isinstance(of, Class) else []
        if isinstance(node.func, ast.Name) and not node.args and not node.keywords:
            function = self.named(node.func.id)
            if isinstance(function, ast.FunctionDef):
                home = self.home(node.func.id)
                return home.returned(function)
        raise Unknown(ast.unparse(node))

    def home(self, name):
        """The module that a name comes from."""
        if name in self.names:
            return self
        module, original = self.imports[name]
        return self.wheel.module(module).home(original)

    def returned(self, function):
        """What a function returns where nothing else has been imported before."""
        local = {}
        for node in function.body:
            if isinstance(node, ast.Return):
                return self.value(node.value, local)
            if isinstance(node, ast.Assign) and "sys.modules" in ast.unparse(node.value):
                continue
            if isinstance(node, ast.If) and ast.unparse(node.test) == "module is not None":
                continue
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                local[node.targets[0].id] = self.value(node.value, local)
            elif not isinstance(node, (ast.Import, ast.ImportFrom, ast.Expr)):
                raise Unknown(function.name)
        raise Unknown(function.name)


def items(value):
    return value.members() if isinstance(value, Class) else value


class Member:
    """One of an enum's."""

    def __init__(self, name, value):
        self.name = name
        self.value = value


class Class:
    def __init__(self, module, node):
        self.module = module
        self.node = node

    def assigned(self):
        for node in self.node.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, node.value
            elif isinstance(node, ast.AnnAssign) and node.value:
                yield node.target.id, node.value

    def members(self):
        return [Member(name, self.value_of(name, node)) for name, node in self.assigned() if not name.startswith("_")]

    def value_of(self, name, node):
        if ast.unparse(node) in ("auto()", "enum.auto()"):
            return name
        return self.module.value(node, {each: its for each, its in self.assigned_before(name)})

    def assigned_before(self, name):
        for each, node in self.assigned():
            if each == name:
                return
            if isinstance(node, ast.Constant):
                yield each, node.value

    def attribute(self, name):
        if name == "__members__":
            return [member.name for member in self.members()]
        for each, node in self.assigned():
            if each == name:
                value = self.value_of(name, node)
                is_enum = any("Enum" in ast.unparse(base) for base in self.node.bases)
                return Member(name, value) if is_enum else value
        raise Unknown(f"{self.node.name}.{name}")

    def call(self, name):
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return self.module.returned(node)
        raise Unknown(f"{self.node.name}.{name}")


# ---- Flags

NUMBERS = {"int": "int", "float": "float", "human_readable_int": "int"}
JSON = ("json.loads", "json_list_type", "parse_cuda_graph_config_arg")
# Actions that take no value unless they are told to.
BARE = ("store_true", "store_false", "store_const", "DeprecatedAction", "DeprecatedStoreTrueAction", "DeprecatedStoreConstAction")


def flags_of(wheel):
    """The flags by their first names, as src/spec/flags.ts reads them."""
    module = wheel.module("sglang.srt.server_args")
    [server_args] = [node for node in module.tree.body if isinstance(node, ast.ClassDef) and node.name == "ServerArgs"]
    found = {"help": {"takes": "nothing"}}
    for home, node in field_classes(wheel, module, server_args):
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found.update(of_field(home, field))
    for node in ast.walk(server_args):
        if isinstance(node, ast.FunctionDef) and node.name == "add_cli_args":
            local = {}
            for statement in node.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    try:
                        local[statement.targets[0].id] = module.value(statement.value, local)
                    except (Unknown, KeyError, TypeError):
                        pass
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".add_argument"):
                    found.update(of_call(module, call, local))
    fields = {
        node.target.id.replace("_", "-")
        for _, one in field_classes(wheel, module, server_args)
        for node in one.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return dict(sorted(filed(name, row, fields) for name, row in found.items()))


def filed(name, row, fields):
    """A flag stands under the name of the field that it sets, where it has that among its names."""
    names = [name, *row.get("aliases", [])]
    first = next((each for each in names if each in fields), name)
    aliases = sorted(each for each in names if each != first)
    if first == "tp-size":
        aliases.append("tp")  # The prefix of it that everybody writes.
    return first, {**row, "aliases": aliases} if aliases else row


def field_classes(wheel, module, server_args):
    yield module, server_args
    folder = wheel.folder / "sglang/srt/arg_groups/fields"
    for path in sorted(folder.glob("*.py")) if folder.exists() else ():
        home = wheel.module(f"sglang.srt.arg_groups.fields.{path.stem}")
        for node in home.tree.body:
            if isinstance(node, ast.ClassDef):
                yield home, node


def of_field(module, field):
    """A field that is annotated with its help or its Arg."""
    annotation = field.annotation
    if not (isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("A", "Annotated")):
        return {}
    parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
    if len(parts) < 2:
        return {}
    meta = {"help": parts[1]}
    if isinstance(parts[1], ast.Call) and ast.unparse(parts[1].func) == "Arg":
        meta = {keyword.arg: keyword.value for keyword in parts[1].keywords}
    elif isinstance(parts[1], ast.Call):
        return {}  # Derived from others, and no flag.
    if "no_cli" in meta and module.value(meta["no_cli"]):
        return {}
    name = module.value(meta["cli_name"]) if "cli_name" in meta else f"--{field.target.id.replace('_', '-')}"
    names = [name, *(module.value(meta["aliases"]) if "aliases" in meta else [])]
    if "action" in meta:
        return row_of(module, names, {**meta, **keywords_of(meta.get("action_kwargs"))}, {})
    kind = parts[0]
    while isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Optional":
        kind = kind.slice
    if isinstance(kind, ast.BinOp) and isinstance(kind.op, ast.BitOr):
        kind = kind.left if ast.unparse(kind.right) == "None" else kind.right
    told = {key: meta[key] for key in ("choices", "nargs", "help", "const") if key in meta}
    if "type_parser" in meta:
        told["type"] = meta["type_parser"]
    text = ast.unparse(kind)
    if isinstance(kind, ast.Subscript) and text.startswith("Literal["):
        values = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        told.setdefault("choices", ast.List(values))
        if isinstance(values[0].value, int):
            told.setdefault("type", ast.Name("int"))
        return row_of(module, names, told, {})
    if text.lower().startswith("list[") and "type" not in told:
        told.setdefault("nargs", ast.Constant("+"))
    elif text == "bool" and "type" not in told:
        told["action"] = ast.Constant("store_true")
    elif text in ("int", "float") and "type" not in told:
        told["type"] = kind
    return row_of(module, names, told, {})


def keywords_of(node):
    """A dict(...) or {...} of an annotation."""
    if isinstance(node, ast.Dict):
        return {key.value: value for key, value in zip(node.keys, node.values)}
    if isinstance(node, ast.Call):
        return {keyword.arg: keyword.value for keyword in node.keywords}
    return {}


def of_call(module, call, local):
    names = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    names = [name for name in names if str(name).startswith("--")]
    if not names:
        return {}
    return row_of(module, names, {keyword.arg: keyword.value for keyword in call.keywords}, local)


def row_of(module, names, told, local):
    """A row of the list, from what add_argument is told."""

    def known(key):
        try:
            return module.value(told[key], local) if key in told else None
        except (Unknown, KeyError, TypeError, AttributeError):
            return None

    names = [name.removeprefix("--") for name in names]
    action = ast.unparse(told["action"]).strip("'\"").split(".")[-1] if "action" in told else None
    kind = ast.unparse(told["type"]) if "type" in told else "str"
    nargs = known("nargs")
    row = {"takes": "str"}
    if action == "BooleanOptionalAction" or nargs == 0 or (action in BARE and "nargs" not in told):
        row = {"takes": "nothing"}
    elif action == "append":
        row = {"takes": "list", "nargs": "1"}
    elif nargs in ("+", "*"):
        row = {"takes": "list", "nargs": nargs}
    elif isinstance(nargs, int) and nargs > 1:
        row = {"takes": "list", "nargs": "+"}
    elif kind in JSON:
        row = {"takes": "json"}
    elif kind in NUMBERS:
        row = {"takes": NUMBERS[kind]}
    if nargs == "?":
        row["nargs"] = "?"
    if kind == "human_readable_int":
        row["suffixes"] = True
    choices = items(known("choices"))
    if isinstance(choices, list) and choices:
        row["choices"] = [str(one.value if isinstance(one, Member) else one) for one in choices if one is not None]
    if len(names) > 1:
        row["aliases"] = sorted(names[1:])
    deprecated = deprecation(action, known("new_flag"), known("help"))
    if deprecated:
        row["deprecated"] = deprecated
    found = {names[0]: row}
    if action == "BooleanOptionalAction":
        found[f"no-{names[0]}"] = {"takes": "nothing"}
    return found


def deprecation(action, instead, text):
    """What to use instead, in the words of the flag's own help."""
    text = text if isinstance(text, str) else ""
    if not (action or "").startswith("Deprecated") and not re.match(r"\W*(?:note: .* )?(?:is )?deprecated", text, re.I):
        return None
    if isinstance(instead, str):
        return f"use {instead}"
    # "(Deprecated: use --x) Does this and that."
    text = re.sub(r"^\((deprecated[^)]*)\).*", r"\1", text, flags=re.I | re.S)
    return re.sub(r"^\W*(?:deprecated|note)\W*", "", text, flags=re.I)


# ---- Pages

# Those that Tandem, a router or the simulated engine know.
PAGES = (
    "/abort_request /continue_generation /flush_cache /freeze_gc /generate /get_load /get_model_info /get_server_info "
    "/health /health_generate /model_info /pause_generation /pd_role_switch /ping /ready /server_info "
    "/v1/chat/completions /v1/completions /v1/models"
).split()


def pages_of(wheel):
    """What its HTTP server and its end show, as far as versions differ in it."""
    server = wheel.module("sglang.srt.entrypoints.http_server").tree
    routes = {}
    functions = {}
    for node in ast.walk(server):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions[node.name] = node
            for path in paths_of(node):
                routes[path] = node.name
    files = "\n".join(path.read_text() for path in sorted((wheel.folder / "sglang/srt").rglob("*.py")))
    watchdog = method(wheel, "sglang.srt.managers.tokenizer_manager", "sigterm_watchdog")
    loads = wheel.module("sglang.srt.entrypoints.v1_loads").tree
    return {
        "pages": [page for page in PAGES if page in routes],
        "model_info": keys_in(functions["model_info"]),
        "loads": keys_in(next(node for node in ast.walk(loads) if getattr(node, "name", "") == "get_loads")),
        "load": fields_in(wheel, "LoadSnapshot", "GetLoadsReqOutput"),
        "disaggregation": fields_in(wheel, "DisaggregationMetrics"),
        "queues": fields_in(wheel, "QueueMetrics"),
        "queue metrics": sorted(set(re.findall(r"sglang:(num_(?:prefill|decode)_\w+_queue_reqs)\b", files))),
        "ping looks at the state": "is_" in ast.unparse(functions[routes["/ping"]]),
        "end of the warm-up": sorted(set(re.findall(r"End of [a-z ]*disaggregation[a-z ]*warmup[a-z ]*", files))),
        "kills itself after SIGTERM": "include_parent=True" in ast.unparse(watchdog),
    }


def paths_of(function):
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and re.match(r"app\.(get|post|put|delete|api_route)$", ast.unparse(decorator.func)):
            if decorator.args and isinstance(decorator.args[0], ast.Constant):
                yield decorator.args[0].value


def keys_in(function):
    """Keys of the answers that a function puts together, in their order."""
    found = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            found.update({key.value: True for key in node.keys if isinstance(key, ast.Constant)})
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            if ast.unparse(node.targets[0].value) == "result":
                found[node.targets[0].slice.value] = True
    return list(found)


def fields_in(wheel, *names):
    """The fields of the first of these classes that is there."""
    for module in ("sglang.srt.managers.load_snapshot", "sglang.srt.managers.io_struct"):
        try:
            tree = wheel.module(module).tree
        except Unknown:
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                return [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]
    raise Unknown(names[0])


def method(wheel, module, name):
    for node in ast.walk(wheel.module(module).tree):
        if getattr(node, "name", None) == name:
            return node
    raise Unknown(name)
