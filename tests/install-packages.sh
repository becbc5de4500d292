#!/bin/sh
# What some tests need of the system, from Debian: in CI, or with VERITY_APT=1, and only as root.
# A failure is not one of the tests: those that lack something are skipped by name.
#   npm                           tests/server/test_clients.py
#   go, with golang.org/x/mod     tests/log/test_go.py
#   swtpm_setup, tss2-esys        whatever asks a TPM (tests/support/simulators.py)
lacking=
need() { # a command or a library's pkg-config name, then the packages that bring it
  what=$1
  shift
  command -v "$what" >/dev/null || pkg-config --exists "$what" 2>/dev/null || lacking="$lacking $*"
}
need npm nodejs npm
need go golang-go
[ -d /usr/share/gocode/src/golang.org/x/mod ] || lacking="$lacking golang-golang-x-mod-dev"
need swtpm_setup swtpm swtpm-tools
need tss2-esys libtss2-dev pkg-config
[ -n "$lacking" ] || exit 0
[ -n "$CI" ] || [ "$VERITY_APT" = 1 ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 - a list
{ apt-get -qq update && apt-get -qq install --no-install-recommends $lacking; } >/dev/null 2>&1 ||
  echo "not everything could be installed, and is not tested:$lacking" >&2
exit 0
