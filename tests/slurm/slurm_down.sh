#!/usr/bin/env bash
# End what slurm_up.sh started in FOLDER: its jobs, its own processes by their written ids, its links. Bounded in time.
set -u
lab=$(realpath -m "$1")
[ -f "$lab/started" ] || exit 0
export SLURM_CONF=$lab/conf/slurm.conf

if [ -f "$SLURM_CONF" ]; then
  timeout 10 scancel --quiet --user=root
  for _ in {1..20}; do
    [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break
    sleep 0.5
  done
fi
runs() { # ID NAME: still the program that was started under this id
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q "$2"
}
tac "$lab/started" | while read -r id name; do
  runs "$id" "$name" || continue
  kill -TERM "$id"
  for _ in {1..50}; do
    runs "$id" "$name" || break
    sleep 0.2
  done
  ! runs "$id" "$name" || kill -KILL "$id"
done
for name in slurm gres cgroup; do
  link=/etc/slurm/$name.conf
  [ "$(readlink "$link")" != "$lab/conf/$name.conf" ] || rm "$link"
done
rm -rf "$lab"
