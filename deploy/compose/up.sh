#!/usr/bin/env bash
# `make compose-up`: builds the images, starts the cluster of compose.yaml and waits until every container is healthy.
# Again on a running cluster: brings it to the present code and configuration. See docs/operations.md for the variables.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

healthy_within_s=${URSA_COMPOSE_TIMEOUT_S:-180}

settings=$("$here/engine.sh" start)
eval "$settings"
"$here/images.sh"

# The committed context file is for the default ports.
if [ "$base_port" != 7200 ]; then
    mkdir -p "$(dirname "$context")"
    sed -e "s/:7210\"/:$URSA_TP_1_PORT\"/" -e "s/:7220\"/:$URSA_TP_2_PORT\"/" \
        -e "s/:7260\"/:$URSA_RP_1_PORT\"/" -e "s/:7270\"/:$URSA_RP_2_PORT\"/" "$here/cluster.json" > "$context"
fi

containers() { docker ps --all --quiet --filter "label=com.docker.compose.project=$project"; }
# One line per container: name, state, health.
conditions() {
    containers | xargs --no-run-if-empty docker inspect \
        --format '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Status}} {{.State.Health.Status}}'
}
explain() {
    say "not healthy:"
    conditions | grep -v ' running healthy$' >&2 || true
    local service
    for service in $(conditions | sed -n '/ running healthy$/!s/ .*//p'); do
        say "--- the last lines of $service"
        compose logs --tail 15 "$service" >&2 || true
    done
}

say "compose: starting"
if ! quietly "compose-up-$project" compose up --detach --no-build --remove-orphans; then
    explain
    die "the cluster did not start"
fi
deadline=$((SECONDS + healthy_within_s))
while conditions | grep -qv ' running healthy$'; do
    if [ "$SECONDS" -ge "$deadline" ]; then
        explain
        die "not every container was healthy within $healthy_within_s s"
    fi
    sleep 0.5
done

shown=${context#"$PWD"/}
cat << MESSAGE
The cluster is up: $(containers | wc -l) containers, every one healthy.
  tp-1 127.0.0.1:$URSA_TP_1_PORT   tp-2 127.0.0.1:$URSA_TP_2_PORT   rp-1 127.0.0.1:$URSA_RP_1_PORT   rp-2 127.0.0.1:$URSA_RP_2_PORT
Try next:
  .venv/bin/ursa --context $shown get nodes
  .venv/bin/ursa --context $shown create tenant acme
  .venv/bin/ursa --context $shown get pods --all-tenants -o wide
MESSAGE
