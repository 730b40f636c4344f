#!/bin/sh
# boot.sh BASE PREPARE CGROUPS: becomes systemd as the first process of a machine of its own. Its root is this machine's,
# seen through an overlay in memory: what is written there is gone with it. PREPARE is run with the new root as its
# argument before that. CGROUPS holds a line "PLACE TYPE OPTIONS" for each cgroup tree.
# Run in new mount, pid, uts, ipc, net and cgroup namespaces.
set -eu
base=$1 prepare=$2 cgroups=$3
root=$base/root

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$root"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for place in run tmp dev var/tmp; do
  mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp" "$root/var/tmp"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
grep -q '^/sys/fs/cgroup cgroup2 ' "$cgroups" || mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
while read -r place type options; do
  mkdir -p "$root$place"
  mount -t "$type" -o "$options" "$type" "$root$place"
done <"$cgroups"

# Of all services only those that are asked for, and the journal.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires
rm -rf "$root"/usr/lib/systemd/system/*.wants
rm -rf "$root/etc/systemd/system-generators" "$root/usr/lib/systemd/system-generators"
mkdir "$root/usr/lib/systemd/system/sockets.target.wants"
for name in systemd-journald.socket systemd-journald-dev-log.socket; do
  ln -s "../$name" "$root/usr/lib/systemd/system/sockets.target.wants/$name"
done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
rm -f "$root/etc/fstab"
: >"$root/etc/fstab"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"  # else systemd would enable all services, as at a first boot

"$prepare" "$root"

ip link set lo up
cd "$root"
pivot_root . .
umount -l .
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal-or-kmsg
