#!/usr/bin/env bash
# `make compose-down`: ends the containers and networks of compose.yaml, and the engine if up.sh had to start one.
# The volumes, and so the cluster's state, stay; `down.sh --volumes` removes them too.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in
    "") options=() ;;
    --volumes) options=(--volumes) ;;
    *) die "unknown option $1; known: --volumes" ;;
esac

# An engine that has to be started first holds no running containers; but it may hold the volumes.
if [ ${#options[@]} -eq 0 ] && ! "$here/engine.sh" running && ! docker version > /dev/null 2>&1; then
    say "compose: no engine is running, so nothing is"
    exit 0
fi
settings=$("$here/engine.sh" start)
eval "$settings"
quietly "compose-down-$project" compose down --remove-orphans --timeout 20 ${options[@]+"${options[@]}"}
# Another project may still run on the engine that was started here.
if [ -z "$(docker ps --quiet)" ]; then "$here/engine.sh" stop; fi
