#!/bin/bash
# The first process of a lab host, in network, mount, UTS and PID namespaces of its own: gives it a disk of its own over
# this machine's, devices, users, an SSH server and a Docker Engine, and then only waits. Killing it is a power-off.
# Arguments: folder of the host, its control group, its name, the two users who may log in, the project, "docker" or "" for an
# engine, folders to share.
set -eu
dir=$1 group=$2 name=$3 users=$4 project=$5 engine=$6
shift 6
tree=$dir/tree

mount --make-rprivate /
disk=$dir/disk # Mounted outside of the host: it is there again after a power-off.
mkdir -p "$disk/upper" "$disk/work" "$disk/all" "$disk/docker" "$disk/home" "$disk/root"
mount -t overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" lab "$disk/all"
cd "$disk/all"
mkdir -p .before var/lib/docker
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
# Folders of this machine that are to be empty, and what cannot lie on an overlay.
mount --bind "$disk/home" home
mount --bind "$disk/root" root
mount --bind "$disk/docker" var/lib/docker
mount -t tmpfs -o mode=755 lab run
mount -t tmpfs -o mode=1777 lab tmp
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
for folder; do
  mkdir -p ".$folder"
  mount --rbind "$folder" ".$folder"
  mount -o remount,bind,ro ".$folder"
done
cp -a "$tree" .tree
pivot_root . .before
umount -l /.before
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
hostname "$name"
cat /proc/sys/kernel/random/uuid >/run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id

# Hardware that is not there: a driver that is a number in a file, device nodes that are /dev/null.
# The devices that this machine has stay beside it.
mkdir /run/devices
mount --rbind /sys/devices /run/devices
for at in class module devices; do mount -t tmpfs -o mode=755 lab "/sys/$at"; done
for kept in /run/devices/*/; do
  mkdir "/sys/devices/${kept#/run/devices/}"
  mount --rbind "$kept" "/sys/devices/${kept#/run/devices/}"
done
umount -l /run/devices
rmdir /run/devices
while read -r node; do
  mkdir -p "$(dirname "$node")"
  mknod -m 666 "$node" c 1 3
done </.tree/devices
cp -a /.tree/files/. /
mkdir -p /sys/class/net
ln -s /sys/devices/virtual/net/* /sys/class/net/

# Not locked, as an account without a password is: sshd lets nobody in there, with a key neither.
for user in $users; do
  id "$user" >/dev/null 2>&1 || useradd --password '*' --home-dir "/home/$user" --create-home --shell /bin/sh "$user"
  install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
  install -m 600 -o "$user" -g "$user" /.tree/authorized_keys "/home/$user/.ssh/authorized_keys"
done
mkdir -p /run/sshd /run/sudo
install -d -m 1777 /run/lab-tools
# The first may use Docker, the second become root.
echo "${users#* } ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/tandem-lab
if [ "$engine" = docker ]; then
  usermod --append --groups docker "${users% *}"
  cat >/usr/local/sbin/start-docker <<SCRIPT
#!/bin/sh
setsid dockerd --iptables=false --bridge=none --cgroup-parent "/$group" >>/var/log/dockerd.log 2>&1 &
SCRIPT
  chmod 755 /usr/local/sbin/start-docker
  start-docker
fi
install -m 600 /.tree/host_key /etc/ssh/lab_host_key
rm -rf /.tree
/usr/sbin/sshd -D -e -f /dev/null -o HostKey=/etc/ssh/lab_host_key -o UsePAM=no -o PasswordAuthentication=no \
  -o MaxStartups=200 -o MaxSessions=10 -o PidFile=/run/sshd.pid >/var/log/sshd.log 2>&1 &
# Takes in what lost its parent, for ever.
while :; do wait || :; sleep 1 & wait $! || :; done
