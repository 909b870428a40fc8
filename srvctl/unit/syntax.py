"""How units are written: words, lists and specifiers, as systemd.syntax(7) and systemd.service(5) read them."""

from __future__ import annotations

import os


def quoted(word: str) -> str:
    """Return `word` as one argument of ExecStart=."""
    escaped = "".join(_escape(character) for character in word).replace("$", "$$")  # environment variables
    return _in_quotes(word, escaped)


def listed(word: str) -> str:
    """Return `word` as one of a list, where nothing is taken from the environment."""
    return _in_quotes(word, "".join(_escape(character) for character in word))


def _in_quotes(word: str, escaped: str) -> str:
    plain = word and not any(c in " \t\n\"'\\;" for c in word)
    return escaped if plain else f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == "%":  # specifiers
        return "%%"
    if is_unwritable(character):
        return f"\\x{os.fsencode(character)[0]:02x}"
    return character


def is_unwritable(character: str) -> bool:
    """Tell whether no unit can have it as it is: a control character, or what stands for a byte that is not UTF-8."""
    return character < " " or character == "\x7f" or "\udc80" <= character <= "\udcff"


def percent(text: str) -> str:
    """Return `text` for a setting that is one text to its end, where only specifiers mean anything."""
    return text.replace("%", "%%")
