# Sourced by the scripts beside it: where things are, and how they speak. Results go to stdout, talk to stderr.
# shellcheck shell=bash
set -Eeuo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd -- "$here/../.." && pwd -P)
cache=$root/.cache/engine
mkdir -p "$cache"

# Exit code of "this machine cannot do it, and here is why", as opposed to "it went wrong".
readonly cannot=77

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
# Ends with the reason; kept in $URSA_SKIP_REASON_FILE as well, for the script that prints the summary.
give_up() {
    say "cannot: $*"
    if [ -n "${URSA_SKIP_REASON_FILE:-}" ]; then printf '%s\n' "$*" > "$URSA_SKIP_REASON_FILE"; fi
    exit "$cannot"
}
have() { command -v "$1" > /dev/null 2>&1; }

# Run a long and talkative command with its output in a log, shown only when it fails.
quietly() {
    local log=$cache/$1.log
    shift
    "$@" > "$log" 2>&1 < /dev/null && return 0
    local status=$?
    say "failed ($status): $*; the end of $log:"
    tail -n 30 "$log" >&2
    return "$status"
}

is_root() { [ "$(id -u)" = 0 ]; }
has_apt() { have apt-get && have dpkg-deb && [ -r /etc/debian_version ]; }
apt_install() {
    local env=(env DEBIAN_FRONTEND=noninteractive)
    quietly apt-update apt-get update || say "apt-get update failed; trying with the lists that are there"
    quietly apt-install "${env[@]}" apt-get install -y --no-install-recommends "$@"
}

# apt for Debian trixie with lists of its own, so that the machine's package sources stay as they are. Signatures are
# checked against Debian's own archive keyring.
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
debian_mirror=${URSA_DEBIAN_MIRROR:-http://deb.debian.org/debian}
trixie_apt() {
    local command=$1 home=$cache/trixie
    shift
    mkdir -p "$home/state/lists/partial" "$home/cache/archives/partial"
    touch "$home/state/status"
    printf 'deb [signed-by=%s] %s trixie main\n' "$debian_keyring" "$debian_mirror" > "$home/sources.list"
    "$command" -qq -o Dir::State="$home/state" -o Dir::State::status="$home/state/status" -o Dir::Cache="$home/cache" \
        -o Dir::Etc::sourcelist="$home/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}

# The options of a compose run: project, ports and images. Ports follow from one base port.
project=${URSA_COMPOSE_PROJECT:-ursa}
base_port=${URSA_COMPOSE_BASE_PORT:-7200}
export COMPOSE_PROJECT_NAME=$project
export URSA_TP_1_PORT=$((base_port + 10)) URSA_TP_2_PORT=$((base_port + 20))
export URSA_RP_1_PORT=$((base_port + 60)) URSA_RP_2_PORT=$((base_port + 70))
# shellcheck disable=SC2034  # used by up.sh and test.sh
{
    context=$here/cluster.json
    if [ "$base_port" != 7200 ]; then context=$root/.cache/compose/$project/cluster.json; fi
}

# `compose up -d` and so on. $URSA_COMPOSE is what engine.sh found: one or two words.
compose() {
    local words
    read -r -a words <<< "$URSA_COMPOSE"
    "${words[@]}" --project-name "$project" --file "$here/compose.yaml" "$@"
}
