#!/usr/bin/env bash
# Finds a Docker engine and a Compose, or makes them.
#
#   eval "$(deploy/compose/engine.sh start)"   sets DOCKER_HOST (if an engine was started here) and URSA_COMPOSE
#   deploy/compose/engine.sh stop              ends the engine if `start` started one; else does nothing
#   deploy/compose/engine.sh running           exit 0 if an engine started here is running
#
# An engine that answers is used as it is. Where none does, and this is root on Debian or Ubuntu, Debian's docker.io is
# installed and a dockerd of this checkout's own is started by hand: its data below .cache/engine, its socket below
# /run, nothing shared with an engine that the machine may get later. Exit code 77: it cannot be done, the reason is said.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# A socket's path may have 108 bytes, a checkout's path more: so not below .cache.
run=/run/ursa-engine-$(printf '%s' "$root" | cksum | cut -d ' ' -f 1)
socket=unix://$run/docker.sock
before=$cache/network-before

answers() { timeout 20 docker ${1:+--host "$1"} version --format '{{.Server.Version}}' 2> /dev/null; }

private_pid() {
    local pid
    pid=$(cat "$run/docker.pid" 2> /dev/null) || return 1
    # The process of that number must still be our dockerd.
    tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -q -- "$run/docker.pid" && echo "$pid"
}

install_engine() {
    have dockerd && have docker && have iptables && return 0
    say "engine: installing docker.io"
    local packages=(docker.io iptables ca-certificates)
    # From Debian 13 on the command is a package of its own.
    if apt-cache show docker-cli > /dev/null 2>&1; then packages+=(docker-cli); fi
    apt_install "${packages[@]}" || give_up "docker.io could not be installed with apt"
    hash -r
}

# What dockerd changes on the host and does not change back when it ends.
remember_network() {
    {
        echo "ip_forward=$(cat /proc/sys/net/ipv4/ip_forward)"
        echo "docker0=$(test -e /sys/class/net/docker0 && echo yes || echo no)"
        echo "forward=$(iptables -S FORWARD 2> /dev/null | sed -n 's/^-P FORWARD //p')"
        echo "chains=$(iptables -S 2> /dev/null | grep -q DOCKER && echo yes || echo no)"
    } > "$before"
}

restore_network() {
    [ -r "$before" ] || return 0
    local ip_forward=1 docker0=yes forward=ACCEPT chains=yes
    # shellcheck source=/dev/null
    . "$before"
    if [ "$chains" = no ] && have iptables-save; then
        iptables-save 2> /dev/null | grep -v -e DOCKER -e docker0 | iptables-restore 2> /dev/null || true
        iptables -P FORWARD "${forward:-ACCEPT}" 2> /dev/null || true
    fi
    if [ "$docker0" = no ] && have ip; then ip link delete docker0 2> /dev/null || true; fi
    echo "$ip_forward" > /proc/sys/net/ipv4/ip_forward || true
    rm -f "$before"
}

start_dockerd() {
    local driver=$1 log=$cache/dockerd.log
    mkdir -p "$run"
    rm -f "$run/docker.pid"
    setsid nohup dockerd --host "$socket" --data-root "$cache/data" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        --storage-driver "$driver" --log-level warn > "$log" 2>&1 < /dev/null &
    local pid=$! tries=0
    until [ -n "$(answers "$socket")" ]; do
        tries=$((tries + 1))
        if ! kill -0 "$pid" 2> /dev/null || [ "$tries" -gt 150 ]; then
            kill "$pid" 2> /dev/null || true
            wait "$pid" 2> /dev/null || true
            return 1
        fi
        sleep 0.2
    done
}

start_private_engine() {
    is_root || give_up "no Docker engine answers, and starting one needs root"
    has_apt || have dockerd || give_up "no Docker engine answers, and docker.io can be installed on Debian and Ubuntu only"
    install_engine
    # Installing may have started the machine's own engine (systemd does).
    if [ -n "$(answers '')" ]; then return 0; fi
    remember_network
    local driver
    for driver in overlay2 vfs; do
        if start_dockerd "$driver"; then
            say "engine: dockerd $(answers "$socket") started ($driver, pid $(cat "$run/docker.pid"))"
            return 0
        fi
        say "engine: dockerd did not start with $driver: $(grep -E 'level=(error|fatal)|failed to start' "$cache/dockerd.log" | tail -n 1)"
    done
    restore_network
    give_up "no Docker engine answers, and dockerd could not be started here: $(tail -n 1 "$cache/dockerd.log")"
}

# Compose v2 as a plugin, or as a command of its own; then Debian trixie's, unpacked into the cache; then bookworm's v1.
find_compose() {
    local own=$cache/docker-compose
    if docker compose version > /dev/null 2>&1; then
        echo "docker compose"
    elif have docker-compose; then
        echo "docker-compose"
    elif [ -x "$own" ] || fetch_compose "$own"; then
        echo "$own"
    elif is_root && has_apt && apt_install docker-compose && have docker-compose; then
        echo "docker-compose"
    else
        return 1
    fi
}

fetch_compose() {
    local target=$1 work=$cache/compose-package
    has_apt && [ -r "$debian_keyring" ] || return 1
    say "engine: fetching Compose v2 from Debian trixie"
    rm -rf "$work" && mkdir -p "$work"
    quietly trixie-update trixie_apt apt-get update || return 1
    (cd "$work" && quietly compose-download trixie_apt apt-get download docker-compose) || return 1
    dpkg-deb --extract "$work"/docker-compose_*.deb "$work/tree" || return 1
    # It lies where Docker looks for its plug-ins, and runs by itself as well.
    local plugin
    plugin=$(find "$work/tree" -type f -name docker-compose -perm -u+x | head -n 1)
    [ -n "$plugin" ] && "$plugin" version > /dev/null 2>&1 || return 1
    mv "$plugin" "$target"
    rm -rf "$work"
}

start() {
    local host=""
    if private_pid > /dev/null && [ -n "$(answers "$socket")" ]; then
        host=$socket
    elif have docker && [ -n "$(answers '')" ]; then
        say "engine: the machine's own, $(answers '')"
    else
        start_private_engine
        if private_pid > /dev/null; then host=$socket; fi
    fi
    if [ -n "$host" ]; then
        echo "export DOCKER_HOST='$host'"
        export DOCKER_HOST=$host
    fi
    local found
    found=$(find_compose) || give_up "a Docker engine answers, but there is no Compose and none could be installed"
    echo "export URSA_COMPOSE='$found'"
}

stop() {
    local pid
    pid=$(private_pid) || { restore_network; return 0; }
    say "engine: stopping dockerd (pid $pid)"
    kill "$pid"
    local tries=0
    while kill -0 "$pid" 2> /dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 150 ]; then kill -KILL "$pid"; break; fi
        sleep 0.2
    done
    restore_network
    rm -rf "$run"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    running) private_pid > /dev/null ;;
    *) sed -n '2,/^# shell/{/^# shell/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
