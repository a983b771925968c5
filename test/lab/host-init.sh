#!/bin/bash
# The first process of a lab host, in network, mount, UTS and PID namespaces of its own: gives it a disk of its own over
# this machine's, devices, users, an SSH server and a Docker Engine, and then only waits. Killing it is a power-off.
# Arguments: folder of the host, its name, the user who may log in, the project, "docker" for an engine.
set -eu
dir=$1 name=$2 user=$3 project=$4 engine=$5
tree=$dir/tree

mount --make-rprivate /
mount -t tmpfs -o size=3g,mode=755 lab "$dir/disk"
mkdir "$dir/disk/upper" "$dir/disk/work" "$dir/disk/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/disk/upper,workdir=$dir/disk/work" lab "$dir/disk/root"
cd "$dir/disk/root"
mkdir -p .before var/lib/docker
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
for at in run:755 tmp:1777 root:700 home:755 var/lib/docker:711; do
  mount -t tmpfs -o "mode=${at#*:}" lab "${at%:*}"
done
# This machine's /dev would be everybody's: a node made in one host would be there in all.
mount -t tmpfs -o mode=755 lab dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"; done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 lab dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir -p opt/tandem
mount --rbind "$project" opt/tandem # It may lie in a folder that the host has of its own.
mount -o remount,bind,ro opt/tandem
cp -a "$tree" .tree
pivot_root . .before
umount -l /.before
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
hostname "$name"

# Hardware that is not there: a driver that is a number in a file, device nodes that are /dev/null.
for at in class module devices; do mount -t tmpfs -o mode=755 lab "/sys/$at"; done
while read -r node; do
  mkdir -p "$(dirname "$node")"
  mknod -m 666 "$node" c 1 3
done </.tree/devices
cp -a /.tree/files/. /

# Not locked, as an account without a password is: sshd lets nobody in there, with a key neither.
useradd --password '*' --home-dir "/home/$user" --create-home --shell /bin/sh "$user"
install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
install -m 600 -o "$user" -g "$user" /.tree/authorized_keys "/home/$user/.ssh/authorized_keys"
mkdir -p /run/sshd /run/sudo
if [ "$engine" = docker ]; then
  usermod --append --groups docker "$user"
  dockerd --iptables=false --bridge=none --cgroup-parent "/tandem-lab-$name" >/var/log/dockerd.log 2>&1 &
fi
install -m 600 /.tree/host_key /etc/ssh/lab_host_key
rm -rf /.tree
/usr/sbin/sshd -D -e -f /dev/null -o HostKey=/etc/ssh/lab_host_key -o UsePAM=no -o PasswordAuthentication=no \
  -o MaxStartups=200 -o MaxSessions=10 -o PidFile=/run/sshd.pid >/var/log/sshd.log 2>&1 &
# Takes in what lost its parent, for ever.
while :; do wait || :; sleep 1 & wait $! || :; done
