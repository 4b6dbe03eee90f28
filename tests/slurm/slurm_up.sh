#!/usr/bin/env bash
# Start a real SLURM of one node on this machine, to throw away: as root, without systemd and containers.
#   bash slurm_up.sh FOLDER    then: . FOLDER/env.sh    at the end: bash slurm_down.sh FOLDER
# Everything lies in FOLDER (keys, configuration, logs, process ids), but for three links in /etc/slurm: the programs
# that Snakemake starts inside a job see no SLURM_CONF and look there. A machine that has a SLURM is left alone.
# Sizes are pretended: CPUS, MEMORY (MB) and GPUS may exceed the machine's; the GPUs are null devices. So are more nodes
# than one (NODES): n1, n2, ... are all this machine.
set -euo pipefail
lab=$(realpath -m "$1")
cpus=${CPUS:-8} memory=${MEMORY:-64000} gpus=${GPUS:-2} count=${NODES:-1} port=${PORT:-17817}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
host=$(hostname -s)
nodes=("$host")
[ "$count" = 1 ] || mapfile -t nodes < <(printf 'n%s\n' $(seq "$count"))

say() { echo "[slurm_up ${SECONDS} s] $*" >&2; }
fail() {
  say "$*"
  tail -n 15 "$lab"/log/* >&2 || true
  bash "$here/slurm_down.sh" "$lab" || true
  exit 1
}
start() { # NAME COMMAND...: in the background, in a session of its own, its id written down
  local name=$1
  shift
  setsid "$@" </dev/null >>"$lab/log/$name.out" 2>&1 &
  echo "$! $name" >>"$lab/started"
}
until_true() { # WHAT COMMAND...
  local what=$1 last=$((SECONDS + 60))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $last ] || fail "$what did not come up within a minute"
    sleep 0.2
  done
}

for name in slurm gres cgroup; do
  link=/etc/slurm/$name.conf
  if [ -e "$link" ] || [ -L "$link" ]; then
    say "$link exists: this machine has a SLURM already, or another trial is running"
    exit 3
  fi
done
mkdir -p "$lab"/{log,run,spool,state,dev,conf,munge}
chmod 755 "$lab" "$lab"/*
: >"$lab/started"

# Munge, on a socket of its own.
(umask 077 && head -c 1024 /dev/urandom >"$lab/munge/key")
start munged munged --foreground --force --socket="$lab/munge/socket" --key-file="$lab/munge/key" \
  --pid-file="$lab/munge/pid" --seed-file="$lab/munge/seed" --log-file="$lab/log/munged.log"
until_true munge bash -c "munge --socket='$lab/munge/socket' --no-input | unmunge --socket='$lab/munge/socket'"

cat >"$lab/conf/slurm.conf" <<END
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that goes back into the queue starts again once its credentials have run out.
AuthInfo=socket=$lab/munge/socket,cred_expire=20
CredType=cred/munge
SlurmctldPort=$port
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd.%n.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.%n.log
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
# No cgroups are touched, nothing is bound to cores, nothing is accounted.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
KillWait=30
SchedulerParameters=bf_interval=2,batch_sched_delay=0
# Who is in urgent takes what others have: their jobs go back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=cpu Nodes=ALL Default=YES MaxTime=2-00:00:00 State=UP
PartitionName=gpu Nodes=ALL MaxTime=2-00:00:00 State=UP
PartitionName=urgent Nodes=ALL MaxTime=2-00:00:00 PriorityTier=2 State=UP
END
for ((i = 0; i < gpus; i++)); do mknod "$lab/dev/gpu$i" c 1 3 2>/dev/null || touch "$lab/dev/gpu$i"; done
for ((n = 0; n < count; n++)); do
  name=${nodes[n]}
  mkdir -p "$lab/spool/$name"
  echo "NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1 + n)) CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=$memory Gres=gpu:$gpus State=UNKNOWN" >>"$lab/conf/slurm.conf"
  for ((i = 0; i < gpus; i++)); do echo "NodeName=$name Name=gpu File=$lab/dev/gpu$i"; done >>"$lab/conf/gres.conf"
done
echo "CgroupAutomount=no" >"$lab/conf/cgroup.conf"
mkdir -p /etc/slurm
for name in slurm gres cgroup; do ln -s "$lab/conf/$name.conf" "/etc/slurm/$name.conf"; done
export SLURM_CONF=$lab/conf/slurm.conf
echo "export SLURM_CONF=$SLURM_CONF" >"$lab/env.sh"

start slurmctld slurmctld -D -c
until_true slurmctld scontrol ping
for name in "${nodes[@]}"; do start slurmd slurmd -D -N "$name"; done
until_true slurmd bash -c '[ "$(sinfo --noheader --Node --partition=cpu --format=%T | sort -u)" = idle ]'
say "up: $(sinfo --noheader --partition=gpu --format='%c cores, %m MB, %G')"
