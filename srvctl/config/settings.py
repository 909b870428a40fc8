"""The settings of a server: frozen, complete and valid. `Settings.resolve` makes them of what was given.

They travel to the worker as a dict of plain values, so nothing here may cost a worker much to import.
"""

from __future__ import annotations

from srvctl.config.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# From SIGTERM to SIGKILL for a program that is cut. A stop may take this much longer than its deadline.
TERM_SECONDS = 2.0


class Settings(Options):
    """What a server was started with.

    `family` and `address` are the words of the command line, `handler` the handler's dotted path, `model` one of
    `MODELS`, `program` the words of a program that serves instead of a handler, or none. Each option is an attribute;
    `values` holds those that differ from their default.
    """

    __slots__ = ("address", "family", "handler", "model", "program")

    family: str
    address: str
    handler: str
    model: str
    program: tuple[str, ...]

    def __init__(
        self,
        family: str,
        address: str,
        handler: str,
        model: str,
        values: Mapping[str, Any],
        program: tuple[str, ...] = (),
    ) -> None:
        for name, value in zip(_FIELDS, (family, address, handler, model, dict(values), program), strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen; {name} cannot be set")

    def __repr__(self) -> str:
        return f"Settings({self.family} {self.address} --{self.model} {self.target_text} {self.values})"

    @property
    def target_text(self) -> str:
        """The handler, or the program as a shell would read it, in one line for people."""
        if not self.program:
            return self.handler
        import shlex

        return shlex.join(self.program)

    @property
    def term_seconds(self) -> float:
        """How long after the deadline of a stop a worker may still be ending the programs that it cut."""
        return TERM_SECONDS if self.program else 0.0

    @classmethod
    def resolve(
        cls, family: str, address: str, handler: str, model: str, program: tuple[str, ...] = (), **given: Any
    ) -> Settings:
        """Return settings of the options that were given, the others at their defaults.

        Raises `UsageError` for options that do not go together.
        """
        from srvctl.config import rules  # no worker resolves settings

        rules.check(family, address, model, bool(program), given)
        return cls(family, address, handler, model, rules.with_defaults(model, given), program)

    def replace(self, **values: Any) -> Settings:
        """Return the same settings but for the options `values`."""
        return Settings.from_wire(self.to_wire() | {"values": {**self.values, **values}})

    def to_wire(self) -> dict[str, Any]:
        """Return plain values that `from_wire` in another process makes the same settings of."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_wire(cls, plain: dict[str, Any]) -> Settings:
        """Return the settings that `to_wire` wrote."""
        return cls(**plain)


_FIELDS = ("family", "address", "handler", "model", "values", "program")
