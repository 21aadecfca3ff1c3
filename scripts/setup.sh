#!/usr/bin/env bash
# Checks what `make demo` or `make test` needs. What is missing it installs when it may (as root in a
# container, with CI=true, or after a yes); otherwise it prints the commands and ends with status 1.
#
#   scripts/setup.sh demo    the Rust toolchain and the C packages that librdkafka is built with
#   scripts/setup.sh test    that, and what the tests run against: a JDK, Maven, openssl, Python
#   ... --check              only says what is missing, installs nothing
set -euo pipefail

want="${1:-test}"
mode="${2:-install}"
case "$want $mode" in
  "demo install" | "test install" | "demo --check" | "test --check") ;;
  *)
    echo "usage: scripts/setup.sh demo|test [--check]" >&2
    exit 2
    ;;
esac
rust_minimum=1.95

packages=()
commands=()
have() { command -v "$1" >/dev/null 2>&1; }
need() { # need PACKAGE COMMAND...: the package is missing when the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}
at_least() { # at_least 1.95 1.97.1
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]
}
java_is_17() {
  local version
  version=$(javac -version 2>&1 | sed -nE 's/^javac ([0-9]+).*/\1/p')
  [ -n "$version" ] && [ "$version" -ge 17 ]
}

need build-essential bash -c 'command -v cc && command -v c++ && command -v make'
need pkg-config command -v pkg-config
need libssl-dev pkg-config --exists openssl
need zlib1g-dev pkg-config --exists zlib
need perl command -v perl
if [ "$want" = test ]; then
  need openssl command -v openssl
  need python3 command -v python3
  need python3-aiosmtpd bash -c '/usr/bin/python3 -c "import aiosmtpd" || python3 -c "import aiosmtpd"'
  need openjdk-17-jdk-headless java_is_17
  need maven command -v mvn
  need prometheus-alertmanager command -v prometheus-alertmanager
fi

if [ ${#packages[@]} -gt 0 ]; then
  if have apt-get; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo "
    commands+=("${sudo}apt-get update")
    commands+=("${sudo}env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-upgrade --no-install-recommends ${packages[*]}")
  else
    echo "missing (names of the Debian packages): ${packages[*]}" >&2
    echo "install what your system calls them, then run this again" >&2
    exit 1
  fi
fi

# The toolchain itself: rust-toolchain.toml names the version, rustup fetches it.
if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
  echo "cargo is in ~/.cargo/bin, which is not on the PATH: run '. \"\$HOME/.cargo/env\"' and try again" >&2
  exit 1
fi
toolchain=$(sed -nE 's/^channel = "(.*)"/\1/p' "$(dirname "$0")/../rust-toolchain.toml")
if ! have cargo; then
  have curl || commands+=("${sudo-}apt-get install -y --no-install-recommends curl ca-certificates")
  commands+=("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt --default-toolchain $toolchain")
elif ! at_least "$rust_minimum" "$(rustc --version 2>/dev/null | cut -d' ' -f2)"; then
  if have rustup; then
    commands+=("rustup toolchain install $toolchain --profile minimal --component clippy,rustfmt")
  else
    echo "rustc is older than $rust_minimum and rustup is not here to fetch a newer one: https://rustup.rs" >&2
    exit 1
  fi
elif [ "$want" = test ] && ! { cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1; then
  commands+=("rustup component add clippy rustfmt --toolchain $toolchain")
fi

if [ ${#commands[@]} -eq 0 ]; then
  exit 0
fi

echo "for 'make $want' this is missing:"
printf '  %s\n' "${commands[@]}"
[ "$mode" = install ] || exit 1
in_a_container() {
  [ -f /.dockerenv ] || [ -f /run/.containerenv ] || grep -qsE 'docker|containerd|kubepods|lxc' /proc/1/cgroup
}
if [ "${CI:-}" = true ] || { [ "$(id -u)" = 0 ] && in_a_container; }; then
  echo "installing it"
elif [ -t 0 ]; then
  read -r -p "Run these commands now? [y/N] " answer
  case "$answer" in
    [yY] | [yY][eE][sS]) ;;
    *)
      echo "nothing was installed" >&2
      exit 1
      ;;
  esac
else
  echo "run these commands, then try again" >&2
  exit 1
fi

for line in "${commands[@]}"; do
  echo "+ $line"
  bash -c "$line"
done

if ! have cargo; then
  echo "Rust is in ~/.cargo/bin: run '. \"\$HOME/.cargo/env\"', then the same command again" >&2
  exit 1
fi
