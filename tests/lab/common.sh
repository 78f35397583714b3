# shellcheck shell=bash
# Sourced by every script of the lab: where things are, how progress is told, how root is reached.

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$LAB/../.." && pwd)
CACHE=${LEGIONIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/legionio-ollama}
export LAB REPO
export LEGIONIO_CACHE=$CACHE

say() { printf '%s\n' "$*" >&2; }

# die WHAT REMEDY
die() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  what to do: %s\n' "$2" >&2
  exit 1
}

# Podman with host networking rules, mmdebstrap and apt need root; the rest does not.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n --preserve-env=CONTAINERS_CONF,DEBIAN_FRONTEND "$@"; fi
}

# Writes the settings podman needs on this machine and exports CONTAINERS_CONF. Podman's default limits are
# above what a machine without CAP_SYS_RESOURCE may grant ("setrlimit: Operation not permitted"), so they are
# taken from the limits in force; crun refuses hybrid cgroup trees, so the runtime is runc; without systemd as
# PID 1 there is nobody to ask for a cgroup.
podman_settings() {
  local dir=$CACHE/podman nofile nproc pid_max manager=cgroupfs
  nofile=$(ulimit -Hn); nproc=$(ulimit -Hu); pid_max=$(cat /proc/sys/kernel/pid_max)
  if [ "$nofile" = unlimited ] || [ "$nofile" -gt 1048576 ]; then nofile=1048576; fi
  if [ "$nproc" = unlimited ] || [ "$nproc" -gt "$pid_max" ]; then nproc=$pid_max; fi
  [ ! -d /run/systemd/system ] || manager=systemd
  mkdir -p "$dir"
  cat > "$dir/containers.conf.$$" <<CONF
[containers]
base_hosts_file = "none"
default_ulimits = ["nofile=$nofile:$nofile", "nproc=$nproc:$nproc"]
pids_limit = 0
[engine]
runtime = "runc"
cgroup_manager = "$manager"
events_logger = "file"
[network]
network_backend = "netavark"
CONF
  mv "$dir/containers.conf.$$" "$dir/containers.conf"
  export CONTAINERS_CONF=$dir/containers.conf
}

# Everything the playbooks of the lab expect in their environment.
lab_environment() {
  podman_settings
  export LEGIONIO_BUILD=${LEGIONIO_BUILD:-$REPO/build}
  LAB_DEBIAN_MIRROR=${LEGIONIO_DEBIAN_MIRROR:-http://deb.debian.org}
  export LAB_DEBIAN_MIRROR
}
