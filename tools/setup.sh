#!/usr/bin/env bash
# Brings what RasterML's demo and tests need: QGIS >= 3.40, scikit-learn, and a .venv with the test tools.
# Idempotent. RASTERML_SETUP=check reports what is missing and changes nothing (exit 1 when something is).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MINIMUM=34000 # QGIS 3.40, as Qgis.QGIS_VERSION_INT writes it
readonly PYTHON=/usr/bin/python3
readonly REQUIREMENTS=requirements-dev.txt
readonly STAMP=.venv/installed-requirements
readonly LOG=build/setup.log
readonly SOURCE_FILE=/etc/apt/sources.list.d/rasterml-backports.list
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly MODE=${RASTERML_SETUP:-install}
export PATH=/usr/bin:/usr/sbin:/bin:/sbin:$PATH # another Python first on PATH breaks QGIS's own

say() { printf 'setup: %s\n' "$*"; }
stop() { say "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

logged() { # "sentence" command...: the sentence on the terminal, the command's noise in the log
  say "$1 ..."
  shift
  printf '\n+ %s\n' "$*" >>"$LOG"
  if ! "$@" >>"$LOG" 2>&1; then
    tail -n 20 "$LOG" >&2
    stop "this failed: $* (the whole story is in $LOG)"
  fi
}

has_qgis() {
  command -v qgis_process >/dev/null && [ -x "$PYTHON" ] &&
    "$PYTHON" -c "import sys; from qgis.core import Qgis; sys.exit(Qgis.QGIS_VERSION_INT < $MINIMUM)" 2>/dev/null
}
has_sklearn() { "$PYTHON" -c 'import sklearn' 2>/dev/null; }
has_venv_module() { "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; }
has_tools() { # a new Python leaves a .venv whose packages it does not see
  cmp -s "$REQUIREMENTS" "$STAMP" && .venv/bin/python -c 'import bandit, detect_secrets, mypy, pytest, ruff' 2>/dev/null
}

missing_packages() {
  has_qgis || echo qgis python3-qgis
  has_sklearn || echo python3-sklearn
  has_venv_module || echo python3-venv
  command -v Xvfb >/dev/null || echo xvfb xauth
}

report() {
  local complete=0
  if [ -z "$packages" ]; then say "system packages: complete"; else say "system packages missing: $packages"; complete=1; fi
  if has_tools; then say "test tools in .venv: complete"; else say "test tools in .venv: missing or outdated"; complete=1; fi
  return $complete
}

explain_other_systems() {
  cat >&2 <<TEXT
setup: missing here: $packages
setup: apt does not offer QGIS 3.40 or newer on this system. Install what is missing, then run the command again:
  Windows    OSGeo4W installer (from qgis.org), "Advanced install": packages qgis-ltr (3.40 or newer) and
             python3-scikit-learn. Use the plugin inside QGIS; "make" needs Linux, or Debian in WSL.
  macOS      QGIS 3.40 or newer from qgis.org (its Python has scikit-learn). Use the plugin inside QGIS.
  Ubuntu     QGIS's own apt repository, described at qgis.org under "Debian/Ubuntu", then:
             sudo apt-get install qgis python3-qgis python3-sklearn python3-venv xvfb xauth
  Fedora     sudo dnf install qgis python3-qgis python3-scikit-learn xorg-x11-server-Xvfb xorg-x11-xauth
  Arch       sudo pacman -S qgis python-gdal python-scikit-learn xorg-server-xvfb xorg-xauth
  Others     QGIS 3.40 or newer with qgis_process, scikit-learn for the same Python, and Xvfb
setup: "qgis_process --version" and "$PYTHON -c 'import qgis.core, sklearn'" must work afterwards.
TEXT
  exit 1
}

qgis_on_offer() { # does apt, as it is set up, have QGIS >= 3.40?
  local version
  version=$(LC_ALL=C apt-cache policy qgis | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9][0-9.]*\).*/\2/p')
  [ -n "$version" ] && dpkg --compare-versions "$version" ge 3.40
}

suites() { apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages'; }

add_backports() { # apt names the mirror, whichever way its sources are written
  suites | grep -q ' bookworm-backports$' && return
  local mirror
  mirror=$(suites | awk '$2 == "bookworm" { print $1; exit }')
  [ -n "$mirror" ] || stop "apt names no mirror for bookworm: add one to /etc/apt/sources.list"
  say "adding Debian's suite bookworm-backports as $SOURCE_FILE"
  printf 'deb [signed-by=%s] %s bookworm-backports main\n' "$KEYRING" "$mirror" | as_root tee "$SOURCE_FILE" >/dev/null
  logged "reading its package list" as_root apt-get update
}

install_packages() { # the arguments are the packages
  local target=() install=(apt-get install -y --no-install-recommends)
  command -v apt-get >/dev/null || explain_other_systems
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
    stop "installing $* needs root: run 'make setup' as root once, or install sudo"
  say "about to install with apt: $*"
  [[ " $* " != *" qgis "* ]] || say "(QGIS and what it needs: some 500 MB to fetch, 3.3 GB on disk, a few minutes)"
  logged "reading the package lists" as_root apt-get update
  if [[ " $* " == *" qgis "* ]] && ! qgis_on_offer; then
    grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release || explain_other_systems
    add_backports
    target=(-t bookworm-backports)
  fi
  logged "installing" as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}" "${target[@]}" "$@"
  [ -z "$(missing_packages)" ] || stop "apt is done, yet these do not answer: $(missing_packages) (see $LOG)"
}

install_tools() {
  logged "making .venv" "$PYTHON" -m venv --clear --system-site-packages .venv
  logged "installing the test tools of $REQUIREMENTS" \
    .venv/bin/python -m pip install --disable-pip-version-check -r "$REQUIREMENTS"
  if compgen -G '.venv/lib/python3*/site-packages/numpy' >/dev/null; then
    stop "a test tool brought its own numpy over QGIS's: remove it from $REQUIREMENTS"
  fi
  cp "$REQUIREMENTS" "$STAMP"
}

packages=$(missing_packages | xargs)
case $MODE in
  check) report; exit ;;
  install) ;;
  *) stop "RASTERML_SETUP is '$MODE': leave it out, or say 'check'" ;;
esac
mkdir -p build/plugins
ln -sfn "$PWD" build/plugins/rasterml # QGIS_PLUGINPATH=build/plugins finds the plugin here
# shellcheck disable=SC2086  # the packages are words
[ -z "$packages" ] || install_packages $packages
has_tools || install_tools
say "ready"
