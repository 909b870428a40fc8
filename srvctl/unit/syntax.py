"""Unit file syntax: quoting of words and lists, and specifiers: systemd.syntax(7), systemd.service(5)."""

from __future__ import annotations

import os


def quoted(word: str) -> str:
    """Return `word` quoted as one argument of ExecStart=."""
    escaped = "".join(_escape(character) for character in word)
    return _in_quotes(word, escaped.replace("$", "$$"))  # a single $ begins a variable


def listed(word: str) -> str:
    """Return `word` quoted as one item of a list, where systemd replaces no environment variables."""
    return _in_quotes(word, "".join(_escape(character) for character in word))


def _in_quotes(word: str, escaped: str) -> str:
    plain = word and not any(c in " \t\n\"'\\;" for c in word)
    return escaped if plain else f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == "%":  # % begins a specifier
        return "%%"
    if is_unwritable(character):
        return f"\\x{os.fsencode(character)[0]:02x}"
    return character


def is_unwritable(character: str) -> bool:
    """Tell whether a unit cannot contain `character`: a control character, or a byte that is not UTF-8."""
    return character < " " or character == "\x7f" or "\udc80" <= character <= "\udcff"


def percent(text: str) -> str:
    """Return `text` for a setting that takes the whole line, where only specifiers need escaping."""
    return text.replace("%", "%%")
