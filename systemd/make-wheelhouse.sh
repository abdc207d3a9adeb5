#!/usr/bin/env bash
# Gathers in one folder all that a box needs to install the gateway without network (`make wheelhouse`).
# Usage: systemd/make-wheelhouse.sh PYTHON FOLDER
# The box needs the same Python, 3.13 say, and the same kind of processor as this machine.
set -euo pipefail
umask 022
unset PYTHONPATH PYTHONHOME

if [[ $# != 2 ]] || ! python=$(type -P "$1"); then
  echo "Usage: $0 PYTHON FOLDER, for example: $0 python3.13 dist/wheelhouse" >&2
  exit 2
fi
python=$(realpath --no-symlinks "$python")
folder=$(realpath --canonicalize-missing "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -e $folder && ! -e $folder/wheels && -n $(ls -A "$folder") ]]; then
  echo "$folder is no wheelhouse and not empty: name another folder." >&2
  exit 1
fi

# Made aside, so that a download that breaks off leaves no half wheelhouse behind.
new=$folder.new
rm -rf "$new"
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/wheels"

echo "Downloading what the gateway needs …"
pip=("$new/.build/bin/python" -m pip --quiet --disable-pip-version-check --no-input)
wheels_only=(--require-hashes --only-binary :all:)
"$python" -m venv "$new/.build"
"${pip[@]}" install "${wheels_only[@]}" --requirement requirements/build.txt
"${pip[@]}" download "${wheels_only[@]}" --dest "$new/wheels" \
  --requirement requirements/run.txt --requirement requirements/installer.txt

echo "Building the gateway …"
"${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$new/wheels" .
wheel=$(basename "$new"/wheels/building_gateway-*.whl)
version=${wheel#building_gateway-}
version=${version%%-*}
sum=$(sha256sum "$new/wheels/$wheel")
{
  grep -v '^#' requirements/run.txt
  printf 'building-gateway==%s \\\n    --hash=sha256:%s\n' "$version" "${sum%% *}"
} >"$new/requirements.txt"
"$new/.build/bin/python" -c \
  'import sys, sysconfig; print("{}.{}".format(*sys.version_info), sysconfig.get_platform())' >"$new/python"
rm -rf "$new/.build"

install -m 0755 systemd/install.sh "$new/"
install -m 0644 systemd/gateway.service config/gateway.yaml LICENSE README.md compose.yaml "$new/"
install -D -m 0644 --target-directory "$new/mappings" mappings/*.yaml
install -D -m 0644 --target-directory "$new/schema" config/schema/*.json
for part in caddy compose grafana nginx prometheus; do # which the pages link to
  install -D -m 0644 --target-directory "$new/config/$part" config/"$part"/*
done
install -D -m 0644 --target-directory "$new/docs" docs/*.md
install -D -m 0644 --target-directory "$new/docs/pictures" docs/pictures/*
(cd "$new" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >"$new/SHA256SUMS"

rm -rf "$folder"
mv "$new" "$folder"
echo "$folder has the gateway $version for Python $(<"$folder/python"). On the box: sudo bash $(basename "$folder")/install.sh"
