"""YAML and JSON read strictly: nothing executed, no key twice, nothing that is easily misread, errors with a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from data_utils.errors import InputError

MAX_YAML_BYTES = 1 << 18  # far above any task file or recipe; PyYAML needs seconds for as much
MAX_YAML_VALUES = 100_000  # with all aliases written out: ten lines of aliases can stand for billions of values
MAX_SHOWN = 80
MAX_LISTED = 20
NOT_PRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
INT, FLOAT, TIMESTAMP, MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp", "merge"))


def shown(value: Any) -> str:
    """`repr`, cut short: a value's place is in the file, not in the message."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """The text, or the beginning of a long one."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first ones of very many."""
    more = f", ... ({len(names):,} in all)" if len(names) > MAX_LISTED else ""
    return ", ".join(map(shortened, names[:MAX_LISTED])) + more


def printable(text: str) -> str:
    """The text with U+FFFD for what no table or page can hold: control characters, and halves of surrogate pairs."""
    return NOT_PRINTABLE.sub("\ufffd", text)


def encodable(text: str) -> bool:
    r"""Whether UTF-8 can hold it: an escape such as `\ud800`, half a surrogate pair, makes a text that it cannot."""
    return not re.search("[\ud800-\udfff]", text)


def parse_json(text: str) -> Any:
    """`json.loads` that refuses a key given twice.

    Raises:
        InputError: it is not JSON, or a key stands twice in one object; with the line if the text has several.
    """
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise InputError(f"{error.msg}, {where}") from None
    except RecursionError:
        raise InputError("nested too deeply") from None
    except InputError:
        raise
    except ValueError as error:  # a whole number of more than 4300 digits
        raise InputError(str(error)) from None


def to_json(value: Any) -> str:
    """JSON text as files here have it, a value a line; ValueError for numbers that are not finite."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"the key {shown(key)} stands twice")
        found[key] = value
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_without_repeats)


def read_yaml_mapping(path: Path, scale: int = 1) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping with names as keys; nothing in it is ever executed.

    A key may stand twice if it has the same value both times. Dates stay text. Numbers are decimal: what YAML 1.1 reads
    as another number than most people (010 is 8, 1:30 is 90) has to be quoted.

    Args:
        path: the file.
        scale: how many times larger than a task file or a recipe it may be, for files that list many things.

    Raises:
        InputError: the file is missing, unreadable, too large, not UTF-8, not YAML, or not a mapping; a key has two
            values; a number that could be misread. With the line, where one is at fault.
    """
    values, refused = read_yaml_entries(path, scale)
    for problem in refused.values():
        raise InputError(problem)
    return values


def read_yaml_entries(path: Path, scale: int = 1) -> tuple[dict[str, Any], dict[str, str]]:
    """As `read_yaml_mapping`, but what is refused in one of the mapping's entries does not spoil the others.

    Returns:
        The entries that are whole, and for each of the others the first problem in it, with file and line.

    Raises:
        InputError: the file as a whole cannot be read.
    """
    text = _read_text(path, scale * MAX_YAML_BYTES)
    loader: _StrictLoader | None = None

    def place(position: int) -> str:
        return f"{path}:{text.count(chr(10), 0, position) + 1}: "

    try:
        loader = _StrictLoader(text)
        loader.most = scale * MAX_YAML_VALUES
        values, refused = loader.entries()
        return values, {name: f"{place(e.node.start_mark.index)}{e.problem}" for name, e in refused.items()}
    except yaml.reader.ReaderError as error:
        position, problem = error.position, f"not valid YAML: the character {error.character:#x} is not allowed"
    except yaml.MarkedYAMLError as error:
        kind = "" if isinstance(error, _RefusedError) else "not valid YAML: "
        mark = error.problem_mark or error.context_mark
        position, problem = mark.index if mark else 0, f"{kind}{error.problem or error.context}"
    except (ValueError, OverflowError) as error:  # an escape such as "\\UFFFFFFFF", or %YAML with a giant number
        position, problem = loader.index if loader else 0, f"not valid YAML: {error}"
    except RecursionError:
        position, problem = loader.index if loader else 0, "not valid YAML: nested too deeply"
    raise InputError(f"{place(position)}{problem}")


def _read_text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from None
    if len(data) > most:
        raise InputError(f"{path}: larger than {most:,} bytes; expected a short YAML file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, bad = error.object.count(b"\n", 0, error.start) + 1, f"byte 0x{error.object[error.start]:02x}"
        raise InputError(f"{path}:{line}: not valid UTF-8 ({bad}); save the file as UTF-8") from None


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is refused all the same."""

    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)
        self.node = node


def _same(one: yaml.Node, other: yaml.Node) -> bool:
    """Whether two nodes hold the same; no more work than there are values in one of them."""
    if one is other:
        return True
    if type(one) is not type(other) or one.tag != other.tag or len(one.value) != len(other.value):
        return False
    if isinstance(one, yaml.ScalarNode):
        return bool(one.value == other.value)
    if isinstance(one, yaml.SequenceNode):
        return all(map(_same, one.value, other.value))
    return all(_same(k, j) and _same(v, w) for (k, v), (j, w) in zip(one.value, other.value, strict=True))


class _StrictLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` with the limits of `read_yaml_mapping`; all it raises is `YAMLError` and RecursionError."""

    most = MAX_YAML_VALUES

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def entries(self) -> tuple[dict[str, Any], dict[str, _RefusedError]]:
        """The file's one mapping: its entries that are whole, and what is wrong with each of the others."""
        node = self.get_single_node() or yaml.ScalarNode("tag:yaml.org,2002:null", "", self.get_mark())
        if not isinstance(node, yaml.MappingNode):
            value = self.construct_object(node, deep=True)
            raise _RefusedError(f"expected a mapping with names as keys, got {type(value).__name__}", node)
        sizes: dict[int, int | _RefusedError] = {}
        whole = 0
        for key_node, value_node in node.value:
            try:
                whole += self._check(value_node, sizes)
            except _RefusedError:
                if key_node.tag == MERGE:  # belongs to all entries
                    raise
        self._check_limits(node, whole)
        self.flatten_mapping(node)
        values: dict[str, Any] = {}
        refused: dict[str, _RefusedError] = {}
        for key_node, value_node in node.value:
            if not isinstance(key := self.construct_object(key_node, deep=True), str):
                raise _RefusedError(f"expected a name as key, got {shown(key)}; quote it if it is a name", key_node)
            values.pop(key, None)  # merged in, and now overwritten
            refused.pop(key, None)
            try:
                self._check(value_node, sizes)
                values[key] = self.construct_object(value_node, deep=True)
            except _RefusedError as error:
                refused[key] = error
                self.recursive_objects = {}  # PyYAML's note of what is unfinished, which would refuse its aliases, too
        return values, refused

    def _check(self, node: yaml.Node, sizes: dict[int, int | _RefusedError]) -> int:
        """How many values the node holds with aliases written out; raises for too many and for a key given twice.

        `sizes` remembers the answer by node: 0 while it is looked for, the error where there is none.
        """
        known = sizes.get(id(node))
        if isinstance(known, _RefusedError):
            raise known
        if known == 0:
            raise _RefusedError("an alias refers to what it stands in", node)
        if known:
            return known
        sizes[id(node)] = 0
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        try:
            size = 1 + sum(self._check(child, sizes) for child in children)
            self._check_limits(node, size)
        except _RefusedError as error:
            sizes[id(node)] = error
            raise
        sizes[id(node)] = size
        return size

    def _check_limits(self, node: yaml.Node, size: int) -> None:
        """Refuse a node of so many values that is too large, or has a key twice with different values."""
        if size > self.most:
            raise _RefusedError(f"stands for more than {self.most:,} values", node)
        seen: dict[str, yaml.Node] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen and not _same(before := seen[key.value], value):
                scalars = isinstance(before, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
                found = f"as {shown(before.value)} and as {shown(value.value)}" if scalars else "with different values"
                raise _RefusedError(f"the key {shown(key.value)} stands twice, {found}", key)
            seen[key.value] = value

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As always, but a value that does not fit its tag (`!!bool maybe`, 2020-13-45) is an error with a line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            kind = node.tag.rsplit(":", 1)[-1]
            raise _RefusedError(f"cannot be read as {kind} ({type(error).__name__}: {error})", node) from None


def _number(construct: Callable[[Any, yaml.ScalarNode], Any], decimal: str) -> Any:
    """A constructor of numbers that refuses those written in another way than people read them."""

    def checked(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        if not re.fullmatch(decimal, node.value):
            problem = f"{shown(node.value)} is another number in YAML than it looks; write a decimal one, or quote it"
            raise _RefusedError(problem, node)
        return construct(loader, node)

    return checked


_StrictLoader.add_constructor(INT, _number(yaml.SafeLoader.construct_yaml_int, r"0|-?[1-9][0-9]*"))
_StrictLoader.add_constructor(FLOAT, _number(yaml.SafeLoader.construct_yaml_float, r"[^_:]+"))
