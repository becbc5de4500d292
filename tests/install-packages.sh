#!/bin/sh
# From Debian, in CI or with VERITY_APT=1, and only as root: Node.js and npm for tests/server/test_clients.py, Go and its
# log packages for tests/log/test_go.py. A failure is not one of the tests: those that need them are skipped by name.
missing=""
command -v npm >/dev/null || missing="$missing nodejs npm"
command -v go >/dev/null && [ -d /usr/share/gocode/src/golang.org/x/mod ] ||
  missing="$missing golang-go golang-golang-x-mod-dev"
[ -n "$missing" ] || exit 0
[ -n "$CI" ] || [ "$VERITY_APT" = 1 ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq install --no-install-recommends $missing; } >/dev/null 2>&1 ||
  echo "these could not be installed, and what needs them is not tested:$missing" >&2
exit 0
