#!/bin/sh
# Write the lock files: every requirement with its hashes, no index host named. $1 is pip-compile.
set -eu
cd "$(dirname "$0")/.."
compile="$1 --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links"
$compile --extra embedded --output-file requirements/demo.txt pyproject.toml requirements/build.in
$compile --extra embedded --output-file requirements/dev.txt pyproject.toml requirements/dev.in
$compile --output-file requirements/peer.txt requirements/peer.in
$compile --output-file requirements/referees.txt requirements/referees.in
$compile --output-file requirements/fuzz.txt requirements/fuzz.in
