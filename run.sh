#!/usr/bin/env bash
# The one door: ./run.sh serves, ./run.sh test tests, ./run.sh --help lists the rest.
#
# On first use it makes .venv with the versions of config/constraints.txt, and again only when those change.
# With PYTHON set (the Docker image does so) that interpreter is used as it is and no .venv is made.
set -euo pipefail

root="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
venv="$root/.venv"
command="${1:-}"

# A production server's every line is JSON, also those of its first start.
case "$command" in "" | -*) production_lines=$([ "${FLASK_ENV:-production}" = development ] || echo yes) ;; *) production_lines= ;; esac
case " $* " in *" --help "*) production_lines= ;; esac

say() { # LEVEL TEXT
  if [ -n "$production_lines" ]; then
    local text="${2//\\/\\\\}"
    text="${text//\"/\\\"}"
    text="$(printf '%s' "$text" | LC_ALL=C tr -c '[:print:]' ' ')"
    printf '{"@timestamp":"%s","log.level":"%s","message":"%s","ecs.version":"1.6.0","log.logger":"run.sh"}\n' \
      "$(date -u +%Y-%m-%dT%H:%M:%S.000Z)" "$1" "$text"
  else
    printf 'run.sh: %s\n' "$2" >&2
  fi
}

fail() {
  say error "$1"
  exit 2
}

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

install() { # EXTRAS STAMP WHAT
  local stamp="$venv/$2" wanted log="$root/.venv-install.log"
  wanted="$root $(cat "$root/config/constraints.txt" "$root/setup.cfg")"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  exec 9>"$root/.venv-install.lock" || fail "$root is not writable, so no .venv can be made in it."
  flock 9 # a second ./run.sh waits for the first one's installation
  if ! [ -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    say info "Installing $3 into .venv, once."
    if ! [ -x "$venv/bin/python" ]; then
      local python
      python="$(find_python)" || fail "Python 3.11, 3.12 or 3.13 is needed and none was found."
      "$python" -m venv "$venv" >"$log" 2>&1 ||
        { rm -rf "$venv"; fail "$python cannot make a virtual environment (on Debian: apt install python3-venv): $(tail -n 3 "$log")"; }
    fi
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
      --constraint "$root/config/constraints.txt" --editable "$root$1" >"$log" 2>&1 ||
      fail "The installation failed: $(tail -n 5 "$log")"
    printf '%s' "$wanted" >"$stamp"
    rm -f "$log"
    say info "Installed."
  fi
  exec 9>&-
}

if [ -n "${PYTHON:-}" ]; then
  python="$PYTHON"
else
  install "" .installed "the pinned dependencies (about 2 GB, a few minutes)"
  python="$venv/bin/python"
fi

if [ "$command" = test ]; then
  shift
  [ -n "${PYTHON:-}" ] || install "[test]" .installed-test "what the tests need"
  cd "$root"
  exec "$python" -m pytest "$@"
fi
exec "$python" -m tf_serving_flask_app "$@"
