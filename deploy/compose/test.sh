#!/usr/bin/env bash
# `make test-compose`: the end-to-end scenario against real containers, on a project and ports of its own; removes the
# containers, networks and volumes afterwards, and stops the engine if it had to be started for this.
# Where no engine can be started it says why and ends with 0; with URSA_SKIP_REASON_FILE set, the reason is also there.
export URSA_COMPOSE_PROJECT=${URSA_COMPOSE_PROJECT:-ursa-test}
export URSA_COMPOSE_BASE_PORT=${URSA_COMPOSE_BASE_PORT:-17900}
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

pytest=$root/.venv/bin/pytest
[ -x "$pytest" ] || die "there is no $pytest; run \`make test-compose\`, which makes the environment first"
reason=$(mktemp)

end() {
    local status=$?
    trap - EXIT INT TERM
    if [ -n "${URSA_COMPOSE:-}" ]; then
        quietly "compose-down-$project" compose down --volumes --remove-orphans --timeout 5 || status=1
        rm -rf "$root/.cache/compose/$project"
    fi
    # shellcheck disable=SC2015
    if [ "${had_engine:-yes}" = no ] && [ -z "$(docker ps --quiet 2> /dev/null)" ]; then "$here/engine.sh" stop; fi
    rm -f "$reason"
    exit "$status"
}

# What ends with "cannot" is a skip; everything else that fails is a failure.
or_skip() {
    local status=0
    URSA_SKIP_REASON_FILE=$reason "$@" || status=$?
    if [ "$status" = "$cannot" ]; then
        say "SKIPPED test-compose: $(cat "$reason")"
        if [ -n "${URSA_SKIP_REASON_FILE:-}" ]; then cp "$reason" "$URSA_SKIP_REASON_FILE"; fi
        exit 0
    fi
    return "$status"
}

if "$here/engine.sh" running; then had_engine=yes; else had_engine=no; fi
trap end EXIT
trap 'exit 130' INT TERM
engine_settings() { settings=$("$here/engine.sh" start); }
or_skip engine_settings
eval "$settings"
# A run that was killed may have left its volumes.
quietly "compose-down-$project" compose down --volumes --remove-orphans --timeout 5
or_skip "$here/up.sh"
cd "$root"
URSA_COMPOSE_CONTEXT=$context "$pytest" -p no:cacheprovider tests/compose "$@"
