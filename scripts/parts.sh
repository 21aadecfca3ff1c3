#!/usr/bin/env bash
# Fetches the real parts that the integration tests run against, once, as Maven artifacts:
#
#   scripts/parts.sh             Apache Kafka with its tools, its Java client and Apache Avro
#   scripts/parts.sh registry    Apicurio, a schema registry that speaks Confluent's API
#
# Prints the folder. Safe to run at any time and side by side: it downloads into a temporary folder
# and renames it into place when it is whole.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
pom="$here/tests/parts/pom.xml"
parts="${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/parts"
kafka="$parts/kafka-4.3.1"
registry="$parts/apicurio-registry-2.6.13"
dependency=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

need() {
  for tool in "$@"; do
    if ! command -v "$tool" >/dev/null; then
      echo "scripts/parts.sh: $tool is missing: scripts/setup.sh test installs it" >&2
      exit 1
    fi
  done
}

# maven ARGUMENTS: three attempts
maven() {
  for attempt in 1 2 3; do
    if mvn -q -B "$@" >&2; then
      return
    fi
    sleep $((attempt * 5))
  done
  echo "scripts/parts.sh: Maven could not fetch the artifacts (three attempts)" >&2
  exit 1
}

# A temporary folder `fresh` beside its place
begin() {
  mkdir -p "$parts"
  fresh=$(mktemp -d "$parts/fetching.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
}

# finish FOLDER: the old one goes; where another run was faster in between, its folder is as good as ours
finish() {
  if [ -d "$1" ]; then
    mv "$1" "$fresh.old"
    rm -rf "$fresh.old"
  fi
  if [ ! -d "$1" ]; then
    mv "$fresh" "$1"
  fi
}

fetch_kafka() {
  if [ -d "$kafka/lib" ] && cmp -s "$pom" "$kafka/pom.xml"; then
    return
  fi
  need java mvn
  begin
  cp "$pom" "$fresh/pom.xml"
  echo "fetching Apache Kafka 4.3.1 into $kafka (about 60 MB, once)" >&2
  maven -f "$fresh/pom.xml" $dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh/lib"
  ls "$fresh"/lib/kafka_2.13-4.3.1.jar "$fresh"/lib/kafka-clients-4.3.1.jar "$fresh"/lib/avro-*.jar >/dev/null
  rm -rf "$fresh/target"
  finish "$kafka"
  cmp -s "$pom" "$kafka/pom.xml"
}

# The newest line that runs on Java 17
fetch_registry() {
  if [ -f "$registry/registry.jar" ]; then
    return
  fi
  need java mvn tar
  begin
  echo "fetching Apicurio Registry 2.6.13 into $registry (about 140 MB, once)" >&2
  maven $dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all \
    -DoutputDirectory="$fresh" -Dmdep.useBaseVersion=true
  tar -xzf "$fresh"/apicurio-registry-app-*.tar.gz -C "$fresh"
  rm "$fresh"/apicurio-registry-app-*.tar.gz
  mv "$fresh"/apicurio-registry-app-*-runner.jar "$fresh/registry.jar"
  if [ ! -f "$registry/registry.jar" ]; then
    finish "$registry"
  fi
  test -f "$registry/registry.jar"
}

case "${1:-kafka}" in
  kafka)
    fetch_kafka
    echo "$kafka"
    ;;
  registry)
    fetch_registry
    echo "$registry"
    ;;
  *)
    echo "usage: scripts/parts.sh [kafka|registry]" >&2
    exit 2
    ;;
esac
