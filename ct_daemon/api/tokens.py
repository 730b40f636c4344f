"""Tokens: who may do what. The file's lines are ``NAME SCOPE TOKEN``; in memory are only digests of the tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from ct_daemon.config.values import SLUG
from ct_daemon.errors import ConfigError, Fault

MAX_TOKENS = 1000
PREFIX = "ctd_"
"""So that a scanner for leaked secrets can know them."""
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{32,512}")


class Scope(IntEnum):
    """What a token allows; a higher scope allows all that a lower one does."""

    READ = 1
    """Look at everything."""
    TRIGGER = 2
    """Ask for a run."""
    ADMIN = 3
    """Pause, resume, cancel, roll back."""

    @property
    def word(self) -> str:
        """As the token file spells it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `local` is the Unix socket: whoever may open it is the daemon's own user, or root."""

    name: str
    scope: Scope
    local: bool = False


LOCAL = Caller(name="socket", scope=Scope.ADMIN, local=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    name: str
    scope: Scope
    digest: bytes


class TokenBook:
    """The tokens of one file."""

    def __init__(self, known: tuple[_Known, ...] = ()) -> None:
        self._known = known

    def __len__(self) -> int:
        return len(self._known)

    def caller(self, token: str) -> Caller | None:
        """Whose token it is; None for one that nobody has. Takes the same time whichever it is."""
        if not _TOKEN.fullmatch(token):
            return None
        digest, found = _digest(token), None
        for one in self._known:
            if hmac.compare_digest(one.digest, digest):
                found = one
        return None if found is None else Caller(name=found.name, scope=found.scope)

    @classmethod
    def parse(cls, text: str, *, name: str) -> TokenBook:
        """The tokens in a file's text; `name` is the file's, for messages. No message shows a token.

        Raises
        ------
        ConfigError
            `tokens_invalid`, with every fault and its line.
        """
        known: list[_Known] = []
        faults: list[Fault] = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            said = "; ".join(_wrong(words, known))
            if said:
                faults.append(Fault(path=f"line {number}", message=said))
                continue
            known.append(_Known(name=words[0], scope=Scope[words[1].upper()], digest=_digest(words[2])))
        if not known and not faults:
            faults.append(Fault(path="(file)", message="it holds no token, so nobody could use the API"))
        if len(known) > MAX_TOKENS:
            faults.append(Fault(path="(file)", message=f"more than {MAX_TOKENS} tokens"))
        if faults:
            told = "\n".join(f"  {fault}" for fault in faults)
            raise ConfigError(
                f"token file {name}:\n{told}\n'ct-daemon token NAME --scope trigger' prints a line for it",
                faults=tuple(faults),
                reason="tokens_invalid",
            )
        return cls(tuple(known))


def new_token(draw: Callable[[int], str]) -> str:
    """A fresh token; `draw` gives URL-safe text of so many random bytes, as `secrets.token_urlsafe` does."""
    return PREFIX + draw(32)


def _wrong(words: list[str], known: list[_Known]) -> Iterator[str]:
    if len(words) != 3:
        yield f"{len(words)} words; write NAME SCOPE TOKEN"
        return
    name, scope, token = words
    if not SLUG.fullmatch(name):
        yield "the name must be lower-case letters, digits, - and _, starting with a letter, at most 63 characters"
    if scope not in [s.word for s in Scope]:
        yield f"the scope must be one of {', '.join(s.word for s in Scope)}"
    if not _TOKEN.fullmatch(token):
        yield "the token must be 32 to 512 characters of letters, digits and - . _ ~"
    if any(one.name == name for one in known):
        yield "the name is used twice"
    if any(one.digest == _digest(token) for one in known):
        yield "the token is used twice"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
