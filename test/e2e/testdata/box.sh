#!/usr/bin/env bash
# box.sh NAME DIR COMMAND...: runs the command on a machine of its own, as far as
# the kernel lends one: own processes, network, mounts, cgroups, /run and (in
# DIR) /var/lib. With the end of this process everything in it ends.
set -euo pipefail

# Below is the part that runs inside, as process 1 of the box.
if [ "$1" = inside ]; then
	shift
	dir=$1
	shift
	ip link set lo up
	# Others' mounts came along, and would go when they remove them.
	awk '$5 ~ "^/(tmp|run|var)/" {print $5}' /proc/self/mountinfo | tac | xargs -r umount -l
	mount -t tmpfs run /run
	mount --bind "$dir" /var/lib
	# What was mounted is the whole machine's tree; mounted again it is the box's.
	awk '$5 ~ "^/sys/fs/cgroup/." {print $5, $(NF - 2), $NF}' /proc/self/mountinfo |
		while read -r at type options; do
			umount "$at"
			options=${options#rw}
			mount -t "$type" -o "rw$options" "$type" "$at"
		done
	"$@"
	exit $?
fi

name=$1 dir=$2
shift 2
[ -d /sys/fs/cgroup/cpuset ] || { echo "box: not a machine with cgroup v1" >&2; exit 1; }
for tree in /sys/fs/cgroup/*/; do
	[ -e "$tree/cgroup.procs" ] || continue
	mkdir -p "$tree/$name"
	if [ -e "$tree/cpuset.cpus" ]; then
		cat "$tree/cpuset.cpus" >"$tree/$name/cpuset.cpus"
		cat "$tree/cpuset.mems" >"$tree/$name/cpuset.mems"
	fi
	echo $$ >"$tree/$name/cgroup.procs"
done
exec unshare --cgroup --mount --net --pid --ipc --fork --kill-child --mount-proc \
	bash "$0" inside "$dir" "$@"
