"""Texts that fit: how long a text is to a chat service, and how it is cut.

What belongs here: length, cutting and the removal of characters that chat services refuse or that could turn a
message around. What does not: which limit holds where (``discord.py``, ``slack.py``, ``telegram.py``).
"""

import unicodedata

#: Bidirectional embeddings, overrides and isolates: an unclosed one would turn the rest of the message around.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")
ELLIPSIS = "…"


def length(text: str) -> int:
    """Length in UTF-16 units: what the services that count strictest count; never less than the characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def tidy(text: str, *, one_line: bool = False) -> str:
    """The text without control characters, lone surrogates and bidirectional controls, and without outer blanks."""
    kept = []
    for character in text:
        if character in "\n\t\r":
            kept.append(" " if one_line or character != "\n" else "\n")
        elif "\ud800" <= character <= "\udfff":
            kept.append("\ufffd")
        elif character not in _BIDI and unicodedata.category(character) not in ("Cc", "Cn"):
            kept.append(character)
    return "".join(kept).strip()


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis, at most ``limit`` UTF-16 units long.

    A character outside the basic plane is never halved, and no joiner, variation selector or combining mark is
    left behind at the cut.
    """
    if length(text) <= limit:
        return text
    if limit < 1:
        return ""
    kept: list[str] = []
    room = limit - length(ELLIPSIS)
    for character in text:
        room -= length(character)
        if room < 0:
            break
        kept.append(character)
    while kept and (kept[-1] in _JOINERS or unicodedata.combining(kept[-1]) or kept[-1].isspace()):
        kept.pop()
    return "".join(kept) + ELLIPSIS
