#!/bin/sh
# Node.js and npm for tests/server/test_clients.py, from Debian: in CI, or with VERITY_APT=1, and only as root.
# A failure is not one of the tests: those that need npm are skipped by name.
command -v npm >/dev/null && exit 0
[ -n "$CI" ] || [ "$VERITY_APT" = 1 ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq install --no-install-recommends nodejs npm; } >/dev/null 2>&1 ||
  echo "nodejs and npm could not be installed: the npm client is not tested" >&2
exit 0
