# shellcheck shell=sh
# What demo, test, check and bench share. They source this file after `cd` to the repository's root.

say() { printf '%s\n' "ct-daemon: $*" >&2; }
die() { say "$*"; exit 1; }

# Sets $python to the first interpreter that is Python 3.11 or later and can make virtual environments.
find_python() {
  without_venv=""
  for python in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 && return
      without_venv="${without_venv:-$python}"
    fi
  done
  [ -z "$without_venv" ] ||
    die "$without_venv can't make virtual environments: install python3-venv (Debian, Ubuntu), or set PYTHON to another one"
  die "no Python 3.11 or later found: install one (Debian: python3 and python3-venv), or set PYTHON to its path"
}

# fingerprint LOCK: what an environment depends on, the interpreter and the lock, as one line.
fingerprint() {
  { "$python" -c 'import sys; print(sys.version, sys.prefix)'; cat "$1"; } | cksum
}

# matches STAMP FINGERPRINT: has .venv been made for this?
matches() {
  [ -f ".venv/$1" ] && [ "$(cat ".venv/$1")" = "$2" ]
}

# environment LOCK: makes .venv hold what LOCK says, or leaves it if it does already.
# The test lock holds the run-time lock whole, so one environment serves both; a changed lock makes a new one.
environment() {
  find_python
  packages="$(fingerprint "$1")"
  project="$(cksum <pyproject.toml)"
  if matches "$1.stamp" "$packages" ||
    { [ "$1" = requirements.lock ] && matches requirements-test.lock.stamp "$(fingerprint requirements-test.lock)"; }; then
    matches project.stamp "$project" || install_project
    return
  fi
  if [ -f ".venv/$1.stamp" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
  fi
  say "installing $1 into .venv"
  quiet_pip install --require-hashes -r "$1"
  install_project
  printf '%s\n' "$packages" >".venv/$1.stamp"
}

install_project() {
  quiet_pip install --no-deps --no-build-isolation --no-index -e .
  cksum <pyproject.toml >.venv/project.stamp
}

quiet_pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input "$@"; }
