#!/usr/bin/env bash
# Installs the gateway as a service of the system, and what it needs, from wheels that are checked by their hashes.
#
#   sudo systemd/install.sh                           from this repository: needs network and Python with venv
#   sudo systemd/install.sh --wheelhouse DIR          from a wheelhouse (`make wheelhouse`): needs no network
#   sudo bash DIR/install.sh                          the same, from the wheelhouse that it lies in
#   sudo /opt/gateway/current/install.sh --rollback   back to the version before
#   sudo /opt/gateway/current/install.sh --uninstall  removes program and unit; --purge: configuration and journal, too
#
#   --python PATH   the Python to use, where the one that is found is not the right one
#   --prefix DIR    everything below DIR in place of /, as DESTDIR of other installers
#
# Each version has a folder of its own in /opt/gateway, and the link `current` says which one is in force. So a new
# one is put in place at once, after `gateway check` with it has found nothing wrong, and the one before stays.
# Typing the same again changes nothing; what was interrupted, it finishes. Configuration, secrets and journal that are
# there are never touched.
set -euo pipefail
umask 022
unset PYTHONPATH PYTHONHOME

say() { printf '%s\n' "$*"; }
fail() {
  told=yes
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

# Whatever else ends it, a full disk say: what bash or a tool says of it is not the last word.
told=no made=''
unforeseen='install.sh: it did not come to its end; why stands above. Mend that and type the same again: it goes on from here.'
trap '[[ $told == yes ]] || say "$unforeseen" >&2; rm -rf "$made"' EXIT

main() {
  read_arguments "$@"
  programs=$prefix/opt/gateway
  configuration=$prefix/etc/gateway
  unit=$prefix/usr/local/lib/systemd/system/gateway.service
  drop_ins=$prefix/etc/systemd/system/gateway.service.d
  command=$prefix/usr/local/bin/gateway
  journal=$prefix/var/lib/gateway
  [[ $EUID == 0 || -n $prefix ]] || fail "this needs root: type it again with sudo before it."
  case $action in
    install) install_gateway ;;
    roll_back) roll_back ;;
    uninstall) uninstall ;;
  esac
}

read_arguments() {
  action=install wheelhouse='' wanted_python='' prefix='' purge=no
  while [[ $# -gt 0 ]]; do
    case $1 in
      --wheelhouse | --python | --prefix)
        [[ -n ${2:-} ]] || fail "$1 needs a path behind it."
        case $1 in
          --wheelhouse) wheelhouse=$2 ;;
          --python) wanted_python=$2 ;;
          --prefix) prefix=$(realpath --canonicalize-missing "$2") ;;
        esac
        shift
        ;;
      --rollback) action=roll_back ;;
      --uninstall) action=uninstall ;;
      --purge) purge=yes ;;
      -h | --help)
        sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        told=yes
        exit
        ;;
      *) fail "unknown argument $1; $0 --help lists those that there are." ;;
    esac
    shift
  done
  [[ $prefix != / ]] || prefix=''
  [[ $purge == no || $action == uninstall ]] || fail "--purge goes with --uninstall only."
}

# --- install -------------------------------------------------------------------------------------------------------

install_gateway() {
  refuse_foreign_folder
  find_wheelhouse
  digest=$(sha256sum <"$wheelhouse/SHA256SUMS" | cut -c -64)
  version=$(sed -nE 's/^building-gateway==([^ ]+).*/\1/p' "$wheelhouse/requirements.txt")
  release=$(name_of_release)
  if [[ $(contents_of "$release") == "$digest" ]]; then
    say "Version $release is in $programs/$release already."
  else
    build_release
  fi
  put_examples
  put_in_force "$release"
  say_what_is_next
}

refuse_foreign_folder() {
  [[ -z $(find -L "$programs" -maxdepth 0 \( ! -uid "$EUID" -o -perm /022 \) 2>/dev/null) ]] ||
    fail "others than root can write to $programs, and so decide what root runs. See what is in it, then: chown -R root: $programs && chmod -R go-w $programs"
}

# Where none is given: the one that this script lies in, or one that is made of the repository it lies in.
find_wheelhouse() {
  local here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  if [[ -z $wheelhouse && -d $here/wheels ]]; then
    wheelhouse=$here
  elif [[ -z $wheelhouse ]]; then
    [[ -x $here/make-wheelhouse.sh ]] || fail "name a wheelhouse: --wheelhouse DIR"
    python=$(find_python '3\.1[123] .*' ensurepip) || fail "Python 3.11, 3.12 or 3.13 with venv is needed:" \
      "apt-get install python3-venv, or name another one: --python PATH"
    made=$(mktemp --directory)
    wheelhouse=$made/wheelhouse
    "$here/make-wheelhouse.sh" "$python" "$wheelhouse" >/dev/null || fail "what is needed could not" \
      "be downloaded; without network, make a wheelhouse elsewhere: make wheelhouse"
  fi
  [[ -f $wheelhouse/SHA256SUMS && -d $wheelhouse/wheels ]] ||
    fail "$wheelhouse is no wheelhouse, or not all of one: make one with \`make wheelhouse\`, on a machine with network," \
      "and copy the whole folder."
  wheelhouse=$(realpath "$wheelhouse")
  (cd "$wheelhouse" && sha256sum --check --quiet --strict SHA256SUMS) ||
    fail "the wheelhouse is damaged, or was copied in part: copy $wheelhouse again. Nothing is changed."
  local fitting
  fitting=$(<"$wheelhouse/python")
  python=$(find_python "${fitting//./\\.}" venv) || fail "the wheelhouse is for Python $fitting, and no such one is here." \
    "Make one for the Python that \`python3 --version\` names: make clean wheelhouse PYTHON=python3.…"
}

# Asked by running it: a version manager's shim can be on PATH and still start nothing. The service sees no home folder.
find_python() { # PATTERN of version and platform, MODULE that it must have
  local candidate found names=(python3 python3.13 python3.12 python3.11)
  [[ -z $wanted_python ]] || names=("$wanted_python")
  while read -r candidate; do
    found=$("$candidate" -c "import sys, sysconfig, $2
print('{}.{}'.format(*sys.version_info), sysconfig.get_platform(), '', sys.base_prefix)" 2>/dev/null) || continue
    [[ ${found%%  *} =~ ^$1$ ]] || continue
    [[ -n $prefix || ! ${found##*  } =~ ^/(home|root|run/user)/ ]] || continue
    printf '%s\n' "$candidate"
    return
  done < <(for name in "${names[@]}"; do type -aP "$name" || true; done)
  return 1
}

# The version; where other contents have that name already, with something behind it that tells them apart.
name_of_release() {
  case $(contents_of "$version") in
    "$digest" | incomplete | none) printf '%s\n' "$version" ;;
    *) printf '%s\n' "$version-${digest:0:8}" ;;
  esac
}

contents_of() { # RELEASE
  if [[ -f $programs/$1/.contents ]]; then
    cat "$programs/$1/.contents"
  elif [[ -n $(ls -A "$programs/$1" 2>/dev/null) ]]; then
    say foreign
  else
    say none
  fi
}

# The mark goes last: a folder whose removal was interrupted is known as one of ours.
remove_release() { # FOLDER
  [[ -d $1 ]] || return 0
  say incomplete >"$1/.contents"
  find "$1" -mindepth 1 -maxdepth 1 ! -name .contents -exec rm -rf {} +
  rm -rf "$1"
}

build_release() {
  local part folder=$programs/$release pip=("$wheelhouse"/wheels/pip-*.whl)
  say "Installing version $release into $folder …"
  remove_release "$folder"
  mkdir -p "$folder"
  say incomplete >"$folder/.contents"
  install -m 0755 "$wheelhouse/install.sh" "$folder/"
  install -m 0644 "$wheelhouse/gateway.service" "$folder/"
  install -D -m 0644 --target-directory "$folder/schema" "$wheelhouse"/schema/*.json
  install -m 0644 "$wheelhouse/README.md" "$wheelhouse/compose.yaml" "$folder/"
  for part in "$wheelhouse"/config/*; do
    install -D -m 0644 --target-directory "$folder/config/${part##*/}" "$part"/*
  done
  install -D -m 0644 --target-directory "$folder/docs" "$wheelhouse"/docs/*.md
  install -D -m 0644 --target-directory "$folder/docs/pictures" "$wheelhouse"/docs/pictures/*
  "$python" -m venv --without-pip "$folder/.venv" || give_up "no folder for the program could be made: is there room?"
  "$folder/.venv/bin/python" "${pip[0]}/pip" --isolated --quiet --disable-pip-version-check \
    install --no-cache-dir --no-index --find-links "$wheelhouse/wheels" --only-binary :all: --require-hashes \
    --root-user-action ignore --requirement "$wheelhouse/requirements.txt" ||
    give_up "the wheels could not be installed: is there room in $programs?"
  "$folder/.venv/bin/gateway" --version >/dev/null || give_up "the new program does not start."
  sync --file-system "$folder"
  say "$digest" >"$folder/.contents"
}

give_up() { # MESSAGE
  remove_release "$programs/$release"
  fail "$1 Nothing is changed."
}

put_examples() {
  install -d -m 0755 "$configuration"
  [[ -e $configuration/secrets ]] || install -d -m 0700 "$configuration/secrets"
  if [[ -e $configuration/gateway.yaml ]]; then
    say "$configuration is as it was."
    return
  fi
  # Made aside: what an interruption leaves behind must not look like somebody's settings.
  local new=$configuration/example.new
  rm -rf "$new"
  install -D -m 0644 --target-directory "$new/mappings" "$wheelhouse"/mappings/*.yaml
  sed -i 's|\.\./config/schema/|../schema/|' "$new"/mappings/*.yaml
  sed 's|^mappings: \.\./mappings|mappings: mappings|' "$wheelhouse/gateway.yaml" >"$new/gateway.yaml"
  [[ -e $configuration/mappings ]] || mv "$new/mappings" "$configuration/"
  mv "$new/gateway.yaml" "$configuration/"
  rm -rf "$new"
  say "Put an example into $configuration: gateway.yaml and mappings."
}

# --- one version in the place of another ---------------------------------------------------------------------------

# The link `replaced` is there from before the switch until the new version has started. Where it is found, a run was
# interrupted in between: then the version that it names is the one to go back to, and the program that runs may be it.
put_in_force() { # RELEASE
  local before
  before=$(release_in replaced)
  [[ -n $before ]] || before=$(release_in current)
  if ! "$programs/$1/.venv/bin/gateway" check -c "$configuration/gateway.yaml"; then
    [[ -z $before || $before == "$1" ]] ||
      fail "with version $1, \`gateway check\` finds what stands above. Version $(release_in current) stays in force;" \
        "correct it and type this again."
    say "\`gateway check\` finds what stands above: correct it before the gateway is started."
  fi
  if [[ $before == "$1" && ! -L $programs/replaced ]]; then
    switch_to "$1"
    say "Version $1 was in force already."
    ! systemd_is_here || systemctl daemon-reload
    return 0
  fi
  [[ -z $before ]] || link replaced "$before"
  switch_to "$1"
  if ! restart_where_it_runs; then
    [[ -n $before && $before != "$1" ]] || fail "the gateway does not start: \`journalctl -u gateway\` says why."
    switch_to "$before"
    restart_where_it_runs || true
    rm -f "$programs/replaced"
    fail "version $1 does not start, so $before is in force again. \`journalctl -u gateway\` says why."
  fi
  if [[ $before == "$1" ]]; then
    rm -f "$programs/replaced"
  elif [[ -n $before ]]; then
    mv -T "$programs/replaced" "$programs/previous"
  fi
  forget_older
  say "Version $1 is in force$(what_is_kept)."
}

what_is_kept() {
  local before
  before=$(release_in previous)
  [[ -z $before ]] || printf '; %s is kept for --rollback' "$before"
}

switch_to() { # RELEASE
  local folder=$programs/$1
  link current "$1"
  install -D -m 0644 "$folder/gateway.service" "$unit"
  fit_to_older_systemd
  install -D -m 0644 --target-directory "$configuration/schema" "$folder"/schema/*.json
  [[ ! -e $command && ! -L $command ]] || return 0
  mkdir -p "$(dirname "$command")"
  ln -s ../../../opt/gateway/current/.venv/bin/gateway "$command"
}

# systemd before 253 (Debian 12) does not know the unit's Type, and would end the service for being silent.
fit_to_older_systemd() {
  local version
  rm -rf "$unit.d"
  systemd_is_here || return 0
  version=$(systemctl --version | sed -nE '1s/^systemd ([0-9]+).*/\1/p')
  [[ ${version:-999} -lt 253 ]] || return 0
  mkdir "$unit.d"
  cat >"$unit.d/older-systemd.conf" <<-'END'
	[Service]
	Type=notify
	ExecReload=/bin/kill -HUP $MAINPID
	END
}

link() { # NAME RELEASE; renamed into place, so that there is one at every moment
  ln -sfn "$2" "$programs/$1.new"
  mv -T "$programs/$1.new" "$programs/$1"
}

release_in() { # LINK
  readlink "$programs/$1" || true
}

systemd_is_here() { [[ -d $prefix/run/systemd/system ]]; }

# Returns once the new program is ready, for the unit is of a type that says so.
restart_where_it_runs() {
  systemd_is_here || return 0
  systemctl daemon-reload
  case $(systemctl is-active gateway) in
    active | activating | reloading) systemctl restart gateway ;;
  esac
}

forget_older() {
  local folder name
  for folder in "$programs"/*/; do
    name=$(basename "$folder")
    [[ -f $folder/.contents && ! -L ${folder%/} ]] || continue
    [[ $name == "$(release_in current)" || $name == "$(release_in previous)" ]] || remove_release "${folder%/}"
  done
}

roll_back() {
  local before
  before=$(release_in replaced)
  [[ -n $before ]] || before=$(release_in previous)
  [[ -n $before && -d $programs/$before ]] || fail "there is no version before in $programs."
  put_in_force "$before"
}

say_what_is_next() {
  local masking=$prefix/etc/systemd/system/gateway.service
  [[ ! -e $masking ]] || say "Attention: $masking hides the unit that was installed, $unit. Remove it if you did not write it on purpose."
  [[ $(readlink "$command") == */opt/gateway/current/.venv/bin/gateway ]] ||
    say "Attention: $command is something else and was left alone; the gateway's command is $programs/current/.venv/bin/gateway."
  if ! systemd_is_here; then
    say "There is no systemd here, so nothing was started. By hand: $programs/current/.venv/bin/gateway run -c $configuration/gateway.yaml"
  elif [[ $(systemctl is-active gateway) == active ]]; then
    say "The gateway runs. See how it is: gateway status -c $configuration/gateway.yaml"
  else
    say "Next: write your settings into $configuration/gateway.yaml and your secrets into $configuration/secrets ($programs/current/docs/infodeck.md, The first day). Then:"
    say "  gateway check -c $configuration/gateway.yaml && systemctl enable --now gateway"
  fi
}

# --- uninstall -----------------------------------------------------------------------------------------------------

uninstall() {
  local folder kept=("$configuration" "$drop_ins" "$journal" "$prefix/var/lib/private/gateway") there=()
  if systemd_is_here && [[ -e $unit ]]; then
    systemctl disable --now gateway || fail "the gateway could not be stopped; nothing is removed."
  fi
  rm -rf "$unit" "$unit.d"
  ! systemd_is_here || systemctl daemon-reload
  [[ $(readlink "$command") != */opt/gateway/current/.venv/bin/gateway ]] || rm "$command"
  for folder in "$programs"/*/; do
    [[ ! -f $folder/.contents || -L ${folder%/} ]] || remove_release "${folder%/}"
  done
  rm -f "$programs"/{current,previous,replaced}{,.new}
  [[ ! -d $programs ]] || rmdir --ignore-fail-on-non-empty "$programs"
  say "Removed the program ($programs) and its unit ($unit)."

  for folder in "${kept[@]}"; do
    [[ ! -e $folder && ! -L $folder ]] || there+=("$folder")
  done
  [[ ${#there[@]} -gt 0 ]] || return 0
  if [[ $purge == yes ]]; then
    say "Removing configuration, secrets and journal: ${there[*]}"
    rm -rf "${there[@]}"
  else
    say "Kept configuration, secrets and journal: ${there[*]} (--uninstall --purge removes them)"
  fi
}

# Read as a whole before anything runs: --uninstall removes this very file.
main "$@"
told=yes
exit
