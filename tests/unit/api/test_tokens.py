"""Tokens: read from a file for its owner's eyes only, compared by digest, and no message shows one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from ct_daemon.api.secret_files import read_secret
from ct_daemon.api.tokens import Caller, Scope, TokenBook, new_token
from ct_daemon.errors import ConfigError
from tests.unit.cli.conftest import ct

GOOD = "a" * 32


def book(text: str) -> TokenBook:
    return TokenBook.parse(text, name="tokens")


def test_a_token_is_known_by_all_of_it() -> None:
    found = book(f"# of the build\n\nci trigger {GOOD}\n  boss   admin  {'b' * 512}\n")
    assert len(found) == 2
    assert found.caller(GOOD) == Caller(name="ci", scope=Scope.TRIGGER)
    assert found.caller("b" * 512) == Caller(name="boss", scope=Scope.ADMIN)
    for wrong in ("", "a" * 31, "a" * 33, GOOD + "\n", "A" * 32, "ä" * 32, "b" * 100_000):
        assert found.caller(wrong) is None


def test_scopes_are_ordered() -> None:
    assert Scope.READ < Scope.TRIGGER < Scope.ADMIN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it holds no token"),
        ("# nothing\n", "it holds no token"),
        (f"ci {GOOD}", "2 words; write NAME SCOPE TOKEN"),
        (f"ci trigger {GOOD} more", "4 words"),
        (f"Ci trigger {GOOD}", "the name must be lower-case"),
        (f"ci root {GOOD}", "one of read, trigger, admin"),
        (f"ci trigger {GOOD[:-1]}", "32 to 512 characters"),
        (f"ci trigger {GOOD[:-1]}/", "32 to 512 characters"),
        (f"ci read {GOOD}\nci read {'b' * 32}", "line 2: the name is used twice"),
        (f"ci read {GOOD}\ndi read {GOOD}", "line 2: the token is used twice"),
        ("\n".join(f"n{i} read {i:032}" for i in range(1001)), "more than 1000 tokens"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_without_its_tokens(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        book(text)
    assert caught.value.reason == "tokens_invalid"
    assert GOOD not in str(caught.value)
    assert GOOD[:-1] not in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        book("x\ny z\n")
    assert [fault.path for fault in caught.value.faults] == ["line 1", "line 2"]


# --- the file -------------------------------------------------------------------------------------------------


def secret_file(folder: Path, mode: int = 0o600, content: bytes = b"hush") -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_is_read(tmp_path: Path, mode: int) -> None:
    assert read_secret(str(secret_file(tmp_path, mode)), {}) == "hush"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        read_secret(str(secret_file(tmp_path, mode)), {})
    assert caught.value.reason == "secret_exposed"


def test_systemd_guards_its_credentials_itself(tmp_path: Path) -> None:
    path = secret_file(tmp_path, 0o440)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_secret("credential:secret", environment) == "hush"
    assert read_secret(str(path), environment) == "hush"


def test_a_credential_without_systemd_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="LoadCredential=") as caught:
        read_secret("credential:secret", {})
    assert caught.value.reason == "secret_unreadable"


def test_what_is_no_small_text_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for place in (str(tmp_path), str(tmp_path / "none"), str(fifo), "a\0b"):
        with pytest.raises(ConfigError) as caught:
            read_secret(place, {})
        assert caught.value.reason == "secret_unreadable"
    for content in (b"\xff\xfe", b"a" * (256 * 1024 + 1)):
        with pytest.raises(ConfigError) as caught:
            read_secret(str(secret_file(tmp_path, content=content)), {})
        assert caught.value.reason == "secret_unreadable"


# --- making one -----------------------------------------------------------------------------------------------


def test_the_command_prints_a_line_that_the_file_takes() -> None:
    first = ct("token", "ci", "--scope", "trigger").output
    second = ct("token", "di").output
    found = book(first + second)
    assert found.caller(first.split()[2]) == Caller(name="ci", scope=Scope.TRIGGER)
    assert found.caller(second.split()[2]) == Caller(name="di", scope=Scope.READ)
    assert first.split()[2] != second.split()[2]
    assert len(new_token(secrets.token_urlsafe)) >= 43


@pytest.mark.parametrize("name", ["Ci", "../x", "a b", "-", "ü", "a" * 64])
def test_the_command_takes_no_name_that_the_file_would_not(name: str) -> None:
    assert "name" in ct("token", "--", name, code=2, columns=200).output
