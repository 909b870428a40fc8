"""Declaration of one option: its flags, default, help and parser, and how its value is written on a command line."""

from __future__ import annotations

from srvctl.config.parsers import parse_assignment, parse_limit, parse_mode, parse_text, parse_variable
from srvctl.errors import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:

    class Generic:
        """A worker does without `typing`: 8 ms and a megabyte of pages that each fork would share."""

        def __class_getitem__(cls, parameters):
            return cls

    T = None


class Option(Generic[T]):
    """One option; as an attribute of a class with `values` it reads as its value, of the class itself as this object.

    A `flag` takes no value, a `choice` one of its words, and `multiple` collects a tuple. `default_text` is what the
    help shows as the default; without one it is made of `default`. `has_variable` says that the environment may set it.
    """

    def __init__(
        self,
        flags: str,
        default: T,
        help: str,
        *,
        group: str,
        parse: Callable[[str], Any] = parse_text,
        metavar: str = "",
        default_text: str = "",
        choices: tuple[str, ...] = (),
        flag: bool = False,
        multiple: bool = False,
        has_variable: bool = True,
    ) -> None:
        self.flags = tuple(flags.split())
        self.long_flag = self.flags[-1]
        self.name = self.long_flag[2:].replace("-", "_")
        self.envvar = variable_of(self.long_flag) if has_variable else ""
        self.default = default
        self.help, self.group = help, group
        self.parse, self.metavar, self.choices = parse, metavar, choices
        self.default_text = default_text or _text_of_default(default)
        self.flag, self.multiple = flag, multiple

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]  # on the class: the declaration itself
        value: T = instance.values.get(self.name, self.default)
        return value

    def read(self, text: str) -> Any:
        """Return the value that `text` stands for. Raises ValueError with what was expected."""
        if self.choices and text not in self.choices:
            raise ValueError(f"expected {' or '.join(self.choices)}{did_you_mean(text, self.choices)}")
        return self.parse(text)

    def text_of(self, value: Any) -> str:
        """Return `value` as it would stand on a command line; what `read` reads."""
        if self.parse is parse_mode:
            return f"{value:04o}"
        if self.parse in (parse_assignment, parse_variable):
            name, text = value
            return name if text is None else f"{name}={text}"
        if self.parse is parse_limit:
            name, soft, hard = value
            words = ["unlimited" if limit == -1 else str(limit) for limit in (soft, hard)]
            return f"{name}={words[0] if soft == hard else ':'.join(words)}"
        return f"{value:.15g}" if isinstance(value, float) else str(value)


def variable_of(flag: str) -> str:
    """Return the name of the environment variable that sets the option `flag`."""
    return "SRVCTL_" + flag[2:].replace("-", "_").upper()


def _text_of_default(default: object) -> str:
    if default is False:
        return "off"
    return f"{default:g}" if isinstance(default, float) else str(default)
